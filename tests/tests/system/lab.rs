//! The laboratory itself, on which every other test depends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::lab::{Node, Observe, Stack, eventually, ping, tcp_echo, tcp_transfer, udp_echo};

fn own_namespaces() -> Result<(String, String)> {
    let of = |kind: &str| std::fs::read_link(format!("/proc/thread-self/ns/{kind}"));
    Ok((format!("{:?}", of("net")?), format!("{:?}", of("mnt")?)))
}

#[test]
fn nodes_and_pods_have_their_own_network_stacks() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("a")?;
    let here = own_namespaces()?;
    let in_node = node.run(own_namespaces)?;
    let in_pod = pod.run(own_namespaces)?;
    ensure!(here.0 != in_node.0 && here.0 != in_pod.0 && in_node.0 != in_pod.0);
    ensure!(here.1 != in_node.1 && in_node.1 == in_pod.1);
    ensure!(own_namespaces()? == here, "the caller was moved");
    Ok(())
}

#[test]
fn a_pods_path_exists_only_inside_of_its_node() -> Result<()> {
    let node = Node::new()?;
    let mut pod = node.pod("a")?;
    node.sh(&format!("nsenter --net={} ip link add mark type bridge", pod.netns().display()))?;
    ensure!(pod.find_link("mark")?.is_some());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains("weir-lab-"), "a mount reached the root namespace");
    pod.remove_netns()?;
    ensure!(!pod.netns().exists() && pod.links().is_err());
    Ok(())
}

#[test]
fn a_panic_inside_of_a_pod_leaves_nothing() -> Result<()> {
    let mut dir = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let node = Node::new().unwrap();
        let pod = node.pod("a").unwrap();
        dir = Some(node.dir().to_owned());
        pod.run::<()>(|| panic!("on purpose")).unwrap();
    }));
    ensure!(panicked.is_err());
    ensure!(!dir.is_some_and(|dir| dir.exists()), "the directory stayed");
    Ok(())
}

#[test]
fn a_namespace_is_freed_with_its_last_handle() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("a")?;
    node.sh(&format!("ip link add host type veth peer name eth0 netns {}", pod.netns().display()))?;
    ensure!(node.find_link("host")?.is_some());
    drop(pod);
    let gone = || Ok(node.find_link("host")?.is_none());
    eventually("the veth is removed with the pod", Duration::from_secs(10), gone)
}

#[test]
fn a_tool_that_hangs_is_killed() -> Result<()> {
    let node = Node::new()?;
    let sleep = node.command("sleep")?.arg("1000").deadline(Duration::from_millis(100));
    let error = format!("{:#}", sleep.stdout().unwrap_err());
    ensure!(error.contains("did not end"), "{error}");
    Ok(())
}

#[test]
fn the_error_of_a_failed_tool_has_its_output() -> Result<()> {
    let node = Node::new()?;
    let error = format!("{:#}", node.sh("ip link show nowhere").unwrap_err());
    ensure!(error.contains("nowhere") && error.contains("does not exist"), "{error}");
    let error = format!("{:#}", node.sh("no-such-program").unwrap_err());
    ensure!(error.contains("no-such-program"), "{error}");
    Ok(())
}

#[test]
fn traffic_checks_fail_without_a_connection() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("a")?;
    node.sh(&format!("ip link add p type veth peer name eth0 netns {}", pod.netns().display()))?;
    node.sh("ip addr add 10.0.0.1/24 dev p")?;
    node.sh("ip link set p up")?;
    pod.sh("ip addr add 10.0.0.2/24 dev eth0")?;
    pod.sh("ip link set eth0 up")?;
    let address = "10.0.0.2".parse()?;
    ping(&node, address)?;
    tcp_echo(&node, &pod, address, b"hello")?;
    tcp_transfer(&node, &pod, address, 1 << 20)?;
    udp_echo(&node, &pod, address, 20_000)?;
    node.sh("ip link set p down")?;
    ensure!(tcp_echo(&node, &pod, address, b"hello").is_err());
    Ok(())
}
