//! A store shared with the reference plugin host-local: either can take over from the other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use weir_tests::lab::{Cni, Config, Node, Pod};

const HOST_LOCAL: &str = "/usr/lib/cni/host-local";

/// The plugin and the reference, with the same configuration.
fn both(subnet: &str) -> Result<(Node, Cni, Cni)> {
    ensure!(
        Path::new(HOST_LOCAL).exists(),
        "{HOST_LOCAL} is missing: install the package containernetworking-plugins"
    );
    let node = Node::new()?;
    let weir = Cni::new(&node, Config::new(subnet).version("1.0.0"))?;
    let reference = weir.with_program(HOST_LOCAL);
    Ok((node, weir, reference))
}

fn allocate(cni: &Cni, pod: &Pod) -> Result<IpAddr> {
    let result = cni.call("ADD").pod(pod).run()?.document()?;
    let address = result["ips"][0]["address"].as_str().context("no address")?;
    Ok(address.parse::<IpNetwork>()?.ip())
}

fn pods(node: &Node, count: usize) -> Result<Vec<Pod>> {
    (0..count).map(|i| node.pod(&format!("p{i}"))).collect()
}

#[test]
fn alternating_allocations_never_collide() -> Result<()> {
    let (node, weir, reference) = both("10.1.0.0/28")?;
    let pods = pods(&node, 14)?;
    let given: Vec<IpAddr> = pods[..13]
        .iter()
        .zip([&weir, &reference].into_iter().cycle())
        .map(|(pod, cni)| allocate(cni, pod))
        .collect::<Result<_>>()?;
    let expected = (2..=14).map(|i| IpAddr::from([10, 1, 0, i])).collect::<Vec<_>>();
    ensure!(given == expected, "{given:?}");
    ensure!(allocate(&weir, &pods[13]).is_err() && allocate(&reference, &pods[13]).is_err());
    Ok(())
}

#[test]
fn concurrent_allocations_never_collide() -> Result<()> {
    let (node, weir, reference) = both("10.1.0.0/24")?;
    let pods = pods(&node, 24)?;
    let given: Vec<IpAddr> = thread::scope(|scope| {
        let threads: Vec<_> = pods
            .iter()
            .zip([&weir, &reference].into_iter().cycle())
            .map(|(pod, cni)| scope.spawn(move || allocate(cni, pod)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Result<_>>()
    })?;
    ensure!(given.iter().collect::<BTreeSet<_>>().len() == 24, "{given:?}");
    Ok(())
}

#[test]
fn each_plugin_releases_reservations_of_the_other() -> Result<()> {
    let (node, weir, reference) = both("10.1.0.0/28")?;
    let pods = pods(&node, 2)?;
    allocate(&weir, &pods[0])?;
    allocate(&reference, &pods[1])?;
    reference.del(&pods[0])?;
    ensure!(weir.reservations()?.len() == 1, "the reference did not release ours");
    weir.del(&pods[1])?;
    ensure!(weir.reservations()?.is_empty(), "we did not release the reservation of the reference");
    // Only DEL of this plugin removes the interface and the record.
    weir.del(&pods[0])?;
    weir.ensure_nothing_left()
}

#[test]
fn both_plugins_write_the_same_files() -> Result<()> {
    let mut contents = Vec::new();
    for take_reference in [false, true] {
        let (node, weir, reference) = both("10.1.0.0/28")?;
        let cni = if take_reference { &reference } else { &weir };
        allocate(cni, &node.pod("a")?)?;
        let store = weir.store()?;
        let read = |name: &str| std::fs::read(store.join(name)).with_context(|| name.to_owned());
        contents.push((read("10.1.0.2")?, read("last_reserved_ip.0")?, read("lock")?));
    }
    ensure!(contents[0] == contents[1], "{contents:?}");
    Ok(())
}

#[test]
fn reservations_of_the_reference_survive_the_first_add_of_this_plugin() -> Result<()> {
    // The store of the reference has no boot ID.
    let (node, weir, reference) = both("10.1.0.0/28")?;
    let pods = pods(&node, 2)?;
    let theirs = allocate(&reference, &pods[0])?;
    let ours = allocate(&weir, &pods[1])?;
    ensure!(weir.reservations()?.contains_key(&theirs) && ours != theirs);
    Ok(())
}
