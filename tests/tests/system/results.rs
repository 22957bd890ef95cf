//! The result of ADD: its format in each version, and that it matches the kernel.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Added, Cni, Config, Node, Observe};

fn add_in(version: &str) -> Result<(Node, weir_tests::lab::Pod, Added)> {
    let node = Node::new()?;
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64").version(version);
    let cni = Cni::new(&node, config)?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    Ok((node, pod, added))
}

#[test]
fn addresses_have_a_version_field_only_before_1_0_0() -> Result<()> {
    for (version, named) in
        [("0.3.0", true), ("0.3.1", true), ("0.4.0", true), ("1.0.0", false), ("1.1.0", false)]
    {
        let (_node, _pod, added) = add_in(version)?;
        let families: Vec<_> = added.ips.iter().map(|ip| ip.version.as_deref()).collect();
        let expected = if named { [Some("4"), Some("6")] } else { [None, None] };
        ensure!(families == expected, "{version}: {}", added.raw);
    }
    Ok(())
}

#[test]
fn interfaces_have_an_mtu_only_since_1_1_0() -> Result<()> {
    for (version, present) in [("0.3.1", false), ("1.0.0", false), ("1.1.0", true)] {
        let (node, pod, added) = add_in(version)?;
        for (interface, link) in [
            (added.host()?, node.link(&added.host()?.name)?),
            (added.container()?, pod.link("eth0")?),
        ] {
            ensure!(interface.mtu == present.then_some(link.mtu), "{version}: {}", added.raw);
        }
    }
    Ok(())
}

#[test]
fn interfaces_in_the_result_match_the_kernel() -> Result<()> {
    for version in ["0.3.0", "0.4.0", "1.0.0", "1.1.0"] {
        let (node, pod, added) = add_in(version)?;
        ensure!(added.interfaces.len() == 3, "{}", added.raw);
        let bridge = added.bridge()?;
        ensure!(bridge.name == "weir0" && bridge.sandbox.is_none(), "{}", added.raw);
        ensure!(bridge.mac == node.link("weir0")?.mac, "{}", added.raw);
        let host = added.host()?;
        ensure!(host.sandbox.is_none(), "{}", added.raw);
        ensure!(host.mac == node.link(&host.name)?.mac, "{}", added.raw);
        let container = added.container()?;
        ensure!(container.name == "eth0", "{}", added.raw);
        ensure!(container.mac == pod.link("eth0")?.mac, "{}", added.raw);
        let sandbox = container.sandbox.as_deref().context("no sandbox")?;
        ensure!(std::path::Path::new(sandbox) == pod.netns(), "{}", added.raw);
    }
    Ok(())
}

#[test]
fn addresses_belong_to_the_containers_interface() -> Result<()> {
    let (_node, _pod, added) = add_in("1.1.0")?;
    for (ip, (address, gateway)) in
        added.ips.iter().zip([("10.1.0.2/24", "10.1.0.1"), ("fd00:1::2/64", "fd00:1::1")])
    {
        ensure!(ip.interface == Some(2), "{}", added.raw);
        ensure!(ip.address == address.parse()?, "{}", added.raw);
        ensure!(ip.gateway == Some(gateway.parse()?), "{}", added.raw);
    }
    ensure!(added.ips.len() == 2, "{}", added.raw);
    Ok(())
}

#[test]
fn default_routes_are_part_of_the_result() -> Result<()> {
    let (_node, _pod, added) = add_in("1.1.0")?;
    let routes: Vec<_> = added.routes.iter().map(|route| (route.dst, route.gw)).collect();
    for (dst, gateway) in [("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd00:1::1")] {
        let gateway = gateway.parse()?;
        ensure!(
            routes.contains(&(dst.parse()?, Some(gateway)))
                || routes.contains(&(dst.parse()?, None)),
            "no route to {dst} in {}",
            added.raw
        );
    }
    Ok(())
}

#[test]
fn routes_have_attributes_only_since_1_1_0() -> Result<()> {
    for (version, present) in [("1.0.0", false), ("1.1.0", true)] {
        let node = Node::new()?;
        let route = json!({ "dst": "10.9.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 7 });
        let config =
            Config::new("10.1.0.0/24").version(version).with_ipam("routes", json!([route]));
        let added = Cni::new(&node, config)?.add(&node.pod("a")?)?;
        let route = added
            .routes
            .iter()
            .find(|route| route.dst.to_string() == "10.9.0.0/16")
            .with_context(|| format!("the route is not in {}", added.raw))?;
        let attributes = [route.mtu, route.advmss, route.priority];
        let expected = if present { [Some(1300), Some(1200), Some(7)] } else { [None, None, None] };
        ensure!(attributes == expected, "{version}: {}", added.raw);
    }
    Ok(())
}

#[test]
fn the_result_has_the_configured_dns() -> Result<()> {
    let dns = json!({
        "nameservers": ["10.96.0.10"],
        "domain": "cluster.local",
        "search": ["svc.cluster.local"],
        "options": ["ndots:5"],
    });
    for version in ["0.3.1", "1.1.0"] {
        let node = Node::new()?;
        let config = Config::new("10.1.0.0/24").version(version).with("dns", dns.clone());
        let added = Cni::new(&node, config)?.add(&node.pod("a")?)?;
        ensure!(added.dns == dns, "{}", added.raw);
    }
    Ok(())
}

#[test]
fn unknown_keys_are_tolerated() -> Result<()> {
    let node = Node::new()?;
    let config = Config::new("10.1.0.0/24")
        .with("futureKey", json!({ "deep": [1, null] }))
        .with("args", json!({ "labels": [{ "key": "x" }], "cni": { "future": 1 } }))
        .with_ipam("resolvConf", "/etc/resolv.conf")
        .with_ipam("futureKey", true)
        .with("cni.dev/future", "x");
    Cni::new(&node, config)?.add(&node.pod("a")?)?;
    Ok(())
}
