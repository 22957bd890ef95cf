//! STATUS reports whether the next ADD can succeed.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Observe, Stack, refused};

#[test]
fn status_of_a_new_node_is_ready_and_changes_nothing() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    cni.status()?;
    ensure!(node.links()?.len() == 1, "STATUS created {:?}", node.links()?);
    ensure!(!cni.store()?.exists(), "STATUS created the store");
    Ok(())
}

#[test]
fn status_is_not_ready_without_a_free_address() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/30"))?;
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    let error = refused(cni.status(), 50)?;
    ensure!(error.to_string().contains("10.1.0."), "the range is not named: {error}");
    cni.del(&pod)?;
    cni.status()
}

#[test]
fn status_is_not_ready_unless_every_range_set_has_a_free_address() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/126"))?;
    for name in ["a", "b"] {
        cni.add(&node.pod(name)?)?;
    }
    // fd00:1::/126 has ::2 and ::3 for pods.
    let error = refused(cni.status(), 50)?;
    ensure!(error.to_string().contains("fd00:1::"), "the range is not named: {error}");
    Ok(())
}

#[test]
fn status_is_not_ready_with_a_bridge_on_another_subnet() -> Result<()> {
    let node = Node::new()?;
    node.sh("ip link add weir0 type bridge")?;
    node.sh("ip addr add 10.7.0.1/24 dev weir0")?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let error = refused(cni.status(), 50)?;
    ensure!(error.to_string().contains("10.7.0.1"), "the address is not named: {error}");
    Ok(())
}

#[test]
fn status_is_not_ready_if_another_kind_of_interface_has_the_bridges_name() -> Result<()> {
    let node = Node::new()?;
    node.sh("ip link add weir0 type veth peer name other")?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let error = refused(cni.status(), 50)?;
    ensure!(error.to_string().contains("weir0"), "{error}");
    Ok(())
}

#[test]
fn status_and_add_wait_for_the_agent_after_a_reboot() -> Result<()> {
    // After a reboot the configuration still exists, but not the agent's run directory.
    let node = Node::new()?;
    node.add_uplink(1500)?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24").with("waitForAgent", true))?;
    let pod = node.pod("a")?;
    let error = refused(cni.status(), 50)?;
    ensure!(error.to_string().contains("weir-agent"), "{error}");
    let error = refused(cni.add(&pod), 11)?;
    ensure!(error.to_string().contains("subnet.env"), "{error}");
    cni.ensure_nothing_left()?;
    let run_dir = node.dir().join("runDir");
    std::fs::create_dir_all(&run_dir)?;
    std::fs::write(run_dir.join("subnet.env"), "WEIR_MTU=1450\n")?;
    cni.status()?;
    cni.add(&pod)?;
    ensure!(pod.link("eth0")?.mtu == 1450);
    Ok(())
}
