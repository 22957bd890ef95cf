//! DEL succeeds when state is missing, and keeps the state of others.

use std::fs;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Observe, Stack, ping, refused};

use crate::fixture::{self, Fixture};

fn one_pod() -> Result<Fixture> {
    fixture::one_pod(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))
}

#[test]
fn del_of_a_container_that_was_never_added_succeeds() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    cni.del(&node.pod("a")?)?;
    cni.ensure_nothing_left()?;
    ensure!(node.find_link("weir0")?.is_none(), "DEL created the bridge");
    Ok(())
}

#[test]
fn del_can_be_repeated() -> Result<()> {
    let Fixture { cni, pod, .. } = one_pod()?;
    for _ in 0..3 {
        cni.del(&pod)?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn del_with_wait_for_removal_leaves_nothing() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24").with("waitForRemoval", true))?;
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()?;
    ensure!(pod.find_link("eth0")?.is_none());
    cni.del(&pod)
}

#[test]
fn del_succeeds_without_the_namespace() -> Result<()> {
    let Fixture { cni, mut pod, .. } = one_pod()?;
    pod.remove_netns()?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn del_succeeds_with_an_unmounted_namespace() -> Result<()> {
    let Fixture { cni, mut pod, .. } = one_pod()?;
    pod.unmount()?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn del_succeeds_without_cni_netns() -> Result<()> {
    let Fixture { cni, pod, .. } = one_pod()?;
    cni.call("DEL").pod(&pod).without("CNI_NETNS").run()?.silent()?;
    cni.ensure_nothing_left()?;
    cni.add(&pod)?;
    cni.call("DEL").pod(&pod).env("CNI_NETNS", "").run()?.silent()?;
    cni.ensure_nothing_left()?;
    ensure!(pod.links()?.len() == 1, "{:?}", pod.links()?);
    Ok(())
}

#[test]
fn del_succeeds_without_the_interface() -> Result<()> {
    let Fixture { cni, pod, .. } = one_pod()?;
    pod.sh("ip link del eth0")?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn del_succeeds_without_the_bridge() -> Result<()> {
    let Fixture { node, cni, pod, .. } = one_pod()?;
    node.sh("ip link del weir0")?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn del_succeeds_without_the_record() -> Result<()> {
    let Fixture { cni, pod, added, .. } = one_pod()?;
    fs::remove_file(cni.records_dir()?.join(format!("{}.json", added.host()?.name)))?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn del_succeeds_without_the_directories() -> Result<()> {
    let Fixture { cni, pod, .. } = one_pod()?;
    fs::remove_dir_all(cni.store()?)?;
    fs::remove_dir_all(cni.records_dir()?)?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()?;
    ensure!(!cni.store()?.exists(), "DEL created the store");
    Ok(())
}

#[test]
fn del_succeeds_on_a_node_that_lost_all_state() -> Result<()> {
    let Fixture { node, cni, mut pod, .. } = one_pod()?;
    pod.remove_netns()?;
    node.sh("ip link del weir0")?;
    for directory in ["dataDir", "runDir"] {
        fs::remove_dir_all(node.dir().join(directory))?;
    }
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn del_keeps_the_state_of_other_pods() -> Result<()> {
    let Fixture { node, cni, pod, .. } = one_pod()?;
    let other = node.pod("b")?;
    let added = cni.add(&other)?;
    cni.del(&pod)?;
    cni.check(&other, &added)?;
    ping(&other, added.gateway()?)?;
    ensure!(cni.reservations()?.len() == 2 && cni.records()?.len() == 1);
    Ok(())
}

#[test]
fn del_keeps_an_address_that_another_container_has_reserved_since() -> Result<()> {
    let Fixture { cni, pod, added, .. } = one_pod()?;
    let file = cni.store()?.join(added.address()?.to_string());
    fs::write(&file, "someone-else\r\neth0")?;
    cni.del(&pod)?;
    ensure!(fs::read_to_string(&file)? == "someone-else\r\neth0");
    ensure!(cni.reservations()?.len() == 1 && cni.records()?.is_empty());
    Ok(())
}

#[test]
fn del_keeps_the_reservation_of_a_container_whose_id_has_the_same_prefix() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let (short, long) = (node.pod("a")?, node.pod("b")?);
    let add = |pod, id: &str| cni.call("ADD").pod(pod).env("CNI_CONTAINERID", id).run()?.added();
    add(&short, "abc")?;
    add(&long, "abcd")?;
    cni.call("DEL").pod(&short).env("CNI_CONTAINERID", "abc").run()?.silent()?;
    let left: Vec<_> = cni.reservations()?.into_values().collect();
    ensure!(left == ["abcd\r\neth0"], "{left:?}");
    Ok(())
}

#[test]
fn del_removes_an_interface_of_the_previous_plugin() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    let netns = pod.netns().display();
    node.sh(&format!("ip link add veth01234567 type veth peer name eth0 netns {netns}"))?;
    fs::create_dir_all(cni.store()?)?;
    fs::write(cni.store()?.join("10.1.0.2"), format!("{}\r\neth0", pod.container_id()))?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()?;
    ensure!(pod.find_link("eth0")?.is_none(), "{:?}", pod.links()?);
    Ok(())
}

#[test]
fn del_keeps_an_interface_without_a_reservation() -> Result<()> {
    // A runtime calls DEL after the ADD that failed because of this interface.
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    pod.sh("ip link add eth0 type bridge")?;
    refused(cni.add(&pod), 100)?;
    cni.del(&pod)?;
    ensure!(pod.find_link("eth0")?.is_some(), "a foreign interface was removed");
    cni.ensure_nothing_left()
}

#[test]
fn del_with_the_nodes_own_namespace_removes_nothing() -> Result<()> {
    // A runtime passes it for a pod in the host network, or for one that it lost track of.
    let node = Node::new()?;
    node.add_uplink(1500)?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let call = cni
        .call("DEL")
        .env("CNI_CONTAINERID", "host")
        .env("CNI_NETNS", "/proc/thread-self/ns/net")
        .env("CNI_IFNAME", "uplink");
    call.run()?.silent()?;
    ensure!(node.find_link("uplink")?.is_some(), "the node lost its uplink");
    Ok(())
}
