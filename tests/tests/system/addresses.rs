//! The allocation of addresses: which ones, in which order, and when they are exhausted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, Config, Node, Pod, refused};

fn setup(config: Config) -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, config)?;
    Ok((node, cni))
}

fn pods(node: &Node, count: usize) -> Result<Vec<Pod>> {
    (0..count).map(|i| node.pod(&format!("p{i}"))).collect()
}

fn addresses(cni: &Cni, pods: &[Pod]) -> Result<Vec<String>> {
    pods.iter().map(|pod| Ok(cni.add(pod)?.address()?.to_string())).collect()
}

#[test]
fn every_address_except_network_broadcast_and_gateway_is_assigned_once() -> Result<()> {
    let (node, cni) = setup(Config::new("10.1.0.8/29"))?;
    let pods = pods(&node, 6)?;
    let given = addresses(&cni, &pods[..5])?;
    ensure!(
        given == ["10.1.0.10", "10.1.0.11", "10.1.0.12", "10.1.0.13", "10.1.0.14"],
        "{given:?}"
    );
    let error = refused(cni.add(&pods[5]), 102)?;
    ensure!(error.to_string().contains("10.1.0."), "the range is not named: {error}");
    ensure!(cni.reservations()?.len() == 5 && cni.host_interfaces()?.len() == 5);
    cni.del(&pods[2])?;
    ensure!(cni.add(&pods[5])?.address()?.to_string() == "10.1.0.12");
    Ok(())
}

#[test]
fn an_address_is_not_reused_before_all_others() -> Result<()> {
    let (node, cni) = setup(Config::new("10.1.0.0/29"))?;
    let mut given = Vec::new();
    for pod in &pods(&node, 7)? {
        given.push(cni.add(pod)?.address()?.to_string());
        cni.del(pod)?;
    }
    ensure!(
        given
            == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2", "10.1.0.3"],
        "{given:?}"
    );
    Ok(())
}

#[test]
fn a_range_may_be_part_of_its_subnet() -> Result<()> {
    let range = json!([[{
        "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.50", "rangeEnd": "10.1.0.52",
        "gateway": "10.1.0.51",
    }]]);
    let (node, cni) = setup(Config::with_ranges(range))?;
    let pods = pods(&node, 3)?;
    let given = addresses(&cni, &pods[..2])?;
    ensure!(given == ["10.1.0.50", "10.1.0.52"], "{given:?}");
    refused(cni.add(&pods[2]), 102)?;
    Ok(())
}

#[test]
fn a_single_range_may_be_given_in_ipam_itself() -> Result<()> {
    let config = Config::new("10.1.0.0/24").with(
        "ipam",
        json!({
            "type": "host-local", "subnet": "10.3.0.0/24", "rangeStart": "10.3.0.7",
            "rangeEnd": "10.3.0.9", "gateway": "10.3.0.254",
        }),
    );
    let (node, cni) = setup(config)?;
    let added = cni.add(&node.pod("a")?)?;
    ensure!(added.address()?.to_string() == "10.3.0.7", "{}", added.raw);
    ensure!(added.gateway()?.to_string() == "10.3.0.254", "{}", added.raw);
    Ok(())
}

#[test]
fn ranges_of_one_set_are_alternatives() -> Result<()> {
    let ranges = json!([[
        { "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "rangeEnd": "10.1.0.6" },
        { "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.20", "rangeEnd": "10.1.0.21" },
    ]]);
    let (node, cni) = setup(Config::with_ranges(ranges))?;
    let pods = pods(&node, 5)?;
    let given: BTreeSet<_> = addresses(&cni, &pods[..4])?.into_iter().collect();
    let expected = ["10.1.0.20", "10.1.0.21", "10.1.0.5", "10.1.0.6"].map(String::from);
    ensure!(given == BTreeSet::from(expected), "{given:?}");
    refused(cni.add(&pods[4]), 102)?;
    Ok(())
}

#[test]
fn add_assigns_an_address_of_each_range_set_or_none() -> Result<()> {
    let ranges = json!([
        [{ "subnet": "10.1.0.0/24" }],
        [{ "subnet": "fd00:1::/64", "rangeStart": "fd00:1::5", "rangeEnd": "fd00:1::6" }],
    ]);
    let (node, cni) = setup(Config::with_ranges(ranges))?;
    let pods = pods(&node, 3)?;
    for pod in &pods[..2] {
        ensure!(cni.add(pod)?.ips.len() == 2);
    }
    let error = refused(cni.add(&pods[2]), 102)?;
    ensure!(error.to_string().contains("fd00:1::"), "the range is not named: {error}");
    ensure!(cni.reservations()?.len() == 4, "{:?}", cni.reservations()?);
    Ok(())
}

#[test]
fn the_store_is_in_the_format_of_host_local() -> Result<()> {
    let (node, cni) = setup(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    cni.add(&node.pod("a")?)?;
    let owner = "a-container\r\neth0".to_owned();
    let expected: Vec<(IpAddr, String)> =
        vec![("10.1.0.2".parse()?, owner.clone()), ("fd00:1::2".parse()?, owner)];
    ensure!(cni.reservations()?.into_iter().collect::<Vec<_>>() == expected);
    for (file, address) in [("last_reserved_ip.0", "10.1.0.2"), ("last_reserved_ip.1", "fd00:1::2")]
    {
        let text = std::fs::read_to_string(cni.store()?.join(file))?;
        ensure!(text == address, "{file} holds {text:?}");
    }
    Ok(())
}

#[test]
fn allocation_from_a_large_subnet_does_not_scan_it() -> Result<()> {
    let (node, cni) = setup(Config::dual_stack("10.0.0.0/8", "fd00::/16"))?;
    let pods = pods(&node, 2)?;
    let given = addresses(&cni, &pods)?;
    ensure!(given == ["10.0.0.2", "10.0.0.3"], "{given:?}");
    Ok(())
}
