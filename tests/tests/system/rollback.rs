//! An ADD that fails late is rolled back completely.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, CniError, Config, Node, Observe, Stack, refused};

fn setup(config: Config) -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, config)?;
    Ok((node, cni))
}

fn dual() -> Config {
    Config::dual_stack("10.1.0.0/24", "fd00:1::/64")
}

#[test]
fn a_pod_keeps_an_existing_interface_of_the_same_name() -> Result<()> {
    let (node, cni) = setup(dual())?;
    let pod = node.pod("a")?;
    pod.sh("ip link add eth0 address 02:00:00:00:00:01 type bridge")?;
    refused(cni.add(&pod), 100)?;
    cni.ensure_nothing_left()?;
    ensure!(pod.link("eth0")?.mac.as_deref() == Some("02:00:00:00:00:01"));
    pod.sh("ip link del eth0")?;
    cni.add(&pod).map(drop)
}

#[test]
fn add_is_rolled_back_when_the_kernel_refuses_a_route() -> Result<()> {
    let route = json!([{ "dst": "10.9.0.0/16", "gw": "172.31.9.9" }]);
    let (node, cni) = setup(dual().with_ipam("routes", route).with("isDefaultGateway", false))?;
    let pod = node.pod("a")?;
    let error = refused(cni.add(&pod), 100)?;
    ensure!(error.to_string().contains("10.9.0.0/16"), "the route is not named: {error}");
    cni.ensure_nothing_left()?;
    ensure!(pod.links()?.len() == 1, "{:?}", pod.links()?);
    Ok(())
}

#[test]
fn add_is_rolled_back_when_the_record_cannot_be_written() -> Result<()> {
    let (node, cni) = setup(dual())?;
    let pod = node.pod("a")?;
    let name = cni.add(&pod)?.host()?.name.clone();
    cni.del(&pod)?;
    // A directory of that name makes every write of the record fail.
    let obstacle = cni.records_dir()?.join(format!("{name}.json"));
    fs::create_dir(&obstacle)?;
    let outcome = cni.add(&pod);
    ensure!(outcome.as_ref().is_err_and(|error| error.is::<CniError>()), "{outcome:?}");
    ensure!(pod.links()?.len() == 1, "{:?}", pod.links()?);
    fs::remove_dir(&obstacle)?;
    cni.ensure_nothing_left()
}

#[test]
fn add_does_not_take_over_a_host_interface_of_the_same_name() -> Result<()> {
    let (node, cni) = setup(dual())?;
    let pod = node.pod("a")?;
    let name = cni.add(&pod)?.host()?.name.clone();
    cni.del(&pod)?;
    node.sh(&format!("ip link add {name} address 02:00:00:00:00:01 type bridge"))?;
    let outcome = cni.add(&pod);
    ensure!(outcome.as_ref().is_err_and(|error| error.is::<CniError>()), "{outcome:?}");
    ensure!(node.link(&name)?.mac.as_deref() == Some("02:00:00:00:00:01"));
    ensure!(cni.reservations()?.is_empty() && cni.records()?.is_empty());
    Ok(())
}

#[test]
fn add_does_not_touch_an_interface_that_has_the_bridges_name_but_is_not_a_bridge() -> Result<()> {
    let (node, cni) = setup(dual())?;
    node.sh("ip link add weir0 type veth peer name other")?;
    let before = node.links()?;
    let outcome = cni.add(&node.pod("a")?);
    ensure!(outcome.as_ref().is_err_and(|error| error.is::<CniError>()), "{outcome:?}");
    ensure!(node.links()? == before, "{:?}", node.links()?);
    ensure!(cni.reservations()?.is_empty() && cni.records()?.is_empty());
    Ok(())
}

#[test]
fn a_failed_add_releases_its_address() -> Result<()> {
    // Four addresses, ten failures: each one has to be given back.
    let (node, cni) = setup(Config::new("10.1.0.0/29"))?;
    let pod = node.pod("a")?;
    pod.sh("ip link add eth0 type bridge")?;
    for _ in 0..10 {
        refused(cni.add(&pod), 100)?;
    }
    ensure!(cni.reservations()?.is_empty());
    Ok(())
}
