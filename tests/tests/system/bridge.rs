//! The bridge: it is the gateway of its pods, and is created once.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, Config, Node, Observe, Stack, refused};

use crate::fixture::{Fixture, global, is_up, one_pod};

#[test]
fn the_bridge_is_the_gateway_of_every_subnet() -> Result<()> {
    let Fixture { node, pod: _pod, .. } =
        one_pod(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    let bridge = node.link("weir0")?;
    ensure!(bridge.info.kind.as_deref() == Some("bridge") && is_up(&bridge), "{bridge:?}");
    let mut addresses = global(&bridge);
    addresses.sort();
    ensure!(addresses == ["10.1.0.1/24", "fd00:1::1/64"], "{bridge:?}");
    Ok(())
}

#[test]
fn the_bridge_has_the_configured_name_and_gateway() -> Result<()> {
    let range = json!([[{ "subnet": "10.1.0.0/24", "gateway": "10.1.0.200" }]]);
    let Fixture { node, pod, added, .. } =
        one_pod(Config::with_ranges(range).with("bridge", "pods0"))?;
    ensure!(global(&node.link("pods0")?) == ["10.1.0.200/24"]);
    ensure!(node.find_link("weir0")?.is_none());
    ensure!(pod.route("0.0.0.0/0")?.gateway == Some("10.1.0.200".parse()?));
    ensure!(added.gateway()? == "10.1.0.200".parse::<IpAddr>()?);
    Ok(())
}

#[test]
fn the_bridge_forwards_sends_no_redirects_and_ignores_router_advertisements() -> Result<()> {
    let node = Node::new()?;
    // The defaults for new interfaces are the opposite of what the plugin must set.
    for (name, value) in [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv4/conf/default/forwarding", "0"),
        ("net/ipv4/conf/default/send_redirects", "1"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/default/accept_ra", "1"),
    ] {
        let path = format!("/proc/sys/{name}");
        node.run(|| std::fs::write(&path, value).with_context(|| path.clone()))?;
    }
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    cni.add(&node.pod("a")?)?;
    for (name, value) in [
        ("net/ipv4/conf/weir0/send_redirects", "0"),
        ("net/ipv4/conf/weir0/forwarding", "1"),
        ("net/ipv6/conf/weir0/accept_ra", "0"),
        ("net/ipv6/conf/weir0/forwarding", "1"),
    ] {
        let found = node.sysctl(name)?;
        ensure!(found == value, "{name} is {found}");
    }
    Ok(())
}

#[test]
fn the_bridge_keeps_its_mac_address_when_ports_come_and_go() -> Result<()> {
    let Fixture { node, cni, pod, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    let mac = node.link("weir0")?.mac;
    let others = (0..5).map(|i| node.pod(&format!("p{i}"))).collect::<Result<Vec<_>>>()?;
    for other in &others {
        cni.add(other)?;
        ensure!(node.link("weir0")?.mac == mac);
    }
    for pod in others.iter().chain([&pod]) {
        cni.del(pod)?;
        ensure!(node.link("weir0")?.mac == mac);
    }
    Ok(())
}

#[test]
fn an_existing_bridge_is_used() -> Result<()> {
    let node = Node::new()?;
    node.sh("ip link add weir0 address 02:00:00:00:00:01 type bridge")?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    // A bridge whose only port has gone with its pod has no carrier.
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    let bridge = node.link("weir0")?;
    ensure!(bridge.mac.as_deref() == Some("02:00:00:00:00:01"), "{bridge:?}");
    ensure!(is_up(&bridge) && global(&bridge) == ["10.1.0.1/24"], "{bridge:?}");
    Ok(())
}

#[test]
fn add_on_a_bridge_without_a_free_port_fails_with_a_clear_error_and_leaves_nothing() -> Result<()> {
    let Fixture { node, cni, pod: _pod, .. } = one_pod(Config::new("10.1.0.0/16"))?;
    // The kernel allows 1,023 ports for a bridge, and one pod exists.
    let links: String = (1..=1022)
        .map(|number| format!("link add p{number} master weir0 type veth peer name q{number}\n"))
        .collect();
    node.command("ip")?.args(["-batch", "-"]).stdin(links).stdout()?;
    let (records, reservations) = (cni.records()?.len(), cni.reservations()?);
    let pod = node.pod("one-too-many")?;
    let error = refused(cni.add(&pod), 107)?;
    for word in ["weir0", "1,023", "--max-pods"] {
        ensure!(error.msg.contains(word), "{word} is not in {error:?}");
    }
    ensure!(cni.reservations()? == reservations && cni.records()?.len() == records);
    ensure!(pod.links()?.len() == 1, "the failed ADD left something in the pod");
    node.sh("ip link del p1")?;
    cni.add(&pod).map(drop)
}
