//! A node whose pod subnet changes.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Observe, Stack, refused};

#[test]
fn add_with_another_subnet_is_refused_and_changes_nothing() -> Result<()> {
    let node = Node::new()?;
    let old = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let added = old.add(&a)?;
    let before = (node.link("weir0")?, old.reservations()?, old.records()?);
    let new = Cni::new(&node, Config::new("10.2.0.0/24"))?;
    let error = refused(new.add(&b), 104)?;
    for named in ["10.1.0.1", "10.2.0."] {
        ensure!(error.to_string().contains(named), "{named} is not named: {error}");
    }
    let after = (node.link("weir0")?, old.reservations()?, old.records()?);
    ensure!(before == after, "before {before:#?}, after {after:#?}");
    ensure!(b.links()?.len() == 1 && old.host_interfaces()?.len() == 1);
    old.check(&a, &added)
}

#[test]
fn an_old_pod_can_be_deleted_with_the_new_configuration() -> Result<()> {
    let node = Node::new()?;
    let old = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    old.add(&pod)?;
    let new = Cni::new(&node, Config::new("10.2.0.0/24"))?;
    new.del(&pod)?;
    new.ensure_nothing_left()
}

#[test]
fn add_with_a_larger_subnet_is_refused() -> Result<()> {
    let node = Node::new()?;
    let old = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    old.add(&node.pod("a")?)?;
    let new = Cni::new(&node, Config::new("10.1.0.0/16"))?;
    refused(new.add(&node.pod("b")?), 104)?;
    Ok(())
}

#[test]
fn add_is_refused_when_the_subnet_of_one_family_changed() -> Result<()> {
    let node = Node::new()?;
    let old = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    old.add(&node.pod("a")?)?;
    let new = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:2::/64"))?;
    let error = refused(new.add(&node.pod("b")?), 104)?;
    ensure!(error.to_string().contains("fd00:1::1"), "{error}");
    Ok(())
}

#[test]
fn a_node_may_become_dual_stack() -> Result<()> {
    let node = Node::new()?;
    let single = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    single.add(&node.pod("a")?)?;
    let dual = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    let added = dual.add(&node.pod("b")?)?;
    ensure!(added.ips.len() == 2, "{}", added.raw);
    Ok(())
}

#[test]
fn add_tolerates_link_local_addresses_of_the_bridge() -> Result<()> {
    let node = Node::new()?;
    for line in [
        "ip link add weir0 type bridge",
        "ip -6 addr add fe80::1/64 dev weir0 nodad",
        "ip addr add 169.254.20.10/32 dev weir0 scope link",
        "ip link set weir0 up",
    ] {
        node.sh(line)?;
    }
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    cni.add(&node.pod("a")?)?;
    Ok(())
}
