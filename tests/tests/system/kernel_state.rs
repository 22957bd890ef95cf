//! The kernel's state of a pod after ADD and after DEL.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, CniError, Config, Node, Observe, Stack, refused};

use crate::fixture::{Fixture, global, is_up, one_pod};

#[test]
fn the_pod_has_one_address_and_a_default_route() -> Result<()> {
    let Fixture { pod, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    let eth0 = pod.link("eth0")?;
    ensure!(is_up(&eth0), "{eth0:?}");
    ensure!(eth0.info.kind.as_deref() == Some("veth"), "{eth0:?}");
    ensure!(global(&eth0) == ["10.1.0.2/24"], "{eth0:?}");
    let route = pod.route("0.0.0.0/0")?;
    ensure!(route.gateway == Some("10.1.0.1".parse()?), "{route:?}");
    ensure!(route.dev.as_deref() == Some("eth0"), "{route:?}");
    ensure!(pod.links()?.len() == 2, "more than lo and eth0: {:?}", pod.links()?);
    Ok(())
}

#[test]
fn the_interface_in_the_pod_has_the_requested_name() -> Result<()> {
    let Fixture { node, cni, pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    // Two default routes would collide.
    let other = cni.reconfigured(|config| config.with("isDefaultGateway", false));
    let second = other.call("ADD").pod(&pod).env("CNI_IFNAME", "net1").run()?.added()?;
    ensure!(global(&pod.link("net1")?) == ["10.1.0.3/24"]);
    ensure!(second.host()?.name != added.host()?.name);
    cni.call("DEL").pod(&pod).env("CNI_IFNAME", "net1").run()?.silent()?;
    ensure!(pod.find_link("net1")?.is_none() && pod.find_link("eth0")?.is_some());
    ensure!(node.find_link(&added.host()?.name)?.is_some());
    ensure!(cni.reservations()?.len() == 1);
    Ok(())
}

#[test]
fn a_second_interface_does_not_replace_the_default_route() -> Result<()> {
    let Fixture { node, pod, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    let config = Config::new("10.2.0.0/24").with("name", "second").with("bridge", "weir1");
    let second = Cni::new(&node, config)?;
    second.call("ADD").pod(&pod).env("CNI_IFNAME", "net1").run()?.added()?;
    let route = pod.route("0.0.0.0/0")?;
    ensure!(route.dev.as_deref() == Some("eth0"), "{route:?}");
    ensure!(pod.route("10.2.0.0/24")?.dev.as_deref() == Some("net1"));
    Ok(())
}

#[test]
fn the_pods_mac_address_is_derived_from_its_ip_address() -> Result<()> {
    let Fixture { pod, .. } = one_pod(Config::new("10.1.200.0/24"))?;
    ensure!(pod.link("eth0")?.mac.as_deref() == Some("0a:58:0a:01:c8:02"));
    let Fixture { pod, .. } = one_pod(Config::dual_stack("fd00:1::/64", "10.1.200.0/24"))?;
    ensure!(pod.link("eth0")?.mac.as_deref() == Some("0a:58:0a:01:c8:02"));
    let range = json!([[{ "subnet": "fd00:1::/64", "rangeStart": "fd00:1::1:2:3" }]]);
    let Fixture { pod, .. } = one_pod(Config::with_ranges(range))?;
    ensure!(pod.link("eth0")?.mac.as_deref() == Some("0a:58:00:02:00:03"));
    Ok(())
}

#[test]
fn the_host_side_is_a_hairpin_port_of_the_bridge() -> Result<()> {
    let Fixture { node, added, pod: _pod, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    let host = node.link(&added.host()?.name)?;
    let digits = host.name.strip_prefix("weir").context("the prefix of the name")?;
    ensure!(
        digits.len() == 11 && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
        "{host:?}"
    );
    ensure!(host.master.as_deref() == Some("weir0"), "{host:?}");
    ensure!(host.info.port.hairpin && is_up(&host), "{host:?}");
    ensure!(host.addresses.is_empty(), "an address on a bridge port: {host:?}");
    Ok(())
}

#[test]
fn the_bridge_learns_no_mac_address_from_a_pod() -> Result<()> {
    let Fixture { node, added, pod, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    let mac = "02:00:00:00:00:99";
    pod.sh(&format!("ip link set eth0 address {mac}"))?;
    // The question for the gateway's MAC address reaches the bridge, whether or not there is a reply.
    let _ = pod.sh(&format!("ping -c 1 -W 1 {}", added.gateway()?));
    let port = added.host()?.name.clone();
    let of_port: Vec<_> = node.fdb()?.into_iter().filter(|entry| entry.port == port).collect();
    ensure!(!of_port.is_empty(), "no entry at all");
    ensure!(of_port.iter().all(|entry| entry.mac != mac), "{of_port:?}");
    Ok(())
}

#[test]
fn the_host_sides_name_depends_only_on_container_and_interface() -> Result<()> {
    let first = one_pod(Config::new("10.1.0.0/24"))?;
    let second = one_pod(Config::new("10.7.0.0/24").with("mtu", 1400).with("name", "other"))?;
    ensure!(first.added.host()?.name == second.added.host()?.name);
    Ok(())
}

#[test]
fn hairpin_mode_can_be_turned_off() -> Result<()> {
    let config = Config::new("10.1.0.0/24").with("hairpinMode", false);
    let Fixture { node, added, pod: _pod, .. } = one_pod(config)?;
    ensure!(!node.link(&added.host()?.name)?.info.port.hairpin);
    Ok(())
}

#[test]
fn the_default_route_can_be_turned_off() -> Result<()> {
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64").with("isDefaultGateway", false);
    let Fixture { pod, added, .. } = one_pod(config)?;
    ensure!(added.routes.is_empty(), "{}", added.raw);
    let defaults: Vec<_> =
        pod.routes()?.into_iter().filter(|route| route.dst == "default").collect();
    ensure!(defaults.is_empty(), "{defaults:?}");
    Ok(())
}

#[test]
fn the_host_sides_alias_is_the_pods_name() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let (known, unknown) = (node.pod("known")?, node.pod("unknown")?);
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=u-1";
    let added = cni.call("ADD").pod(&known).env("CNI_ARGS", args).run()?.added()?;
    let alias = node.link(&added.host()?.name)?.alias;
    ensure!(alias.as_deref() == Some("shop/cart-0"), "{alias:?}");
    let alias = node.link(&cni.add(&unknown)?.host()?.name)?.alias;
    ensure!(alias == Some(unknown.container_id()), "{alias:?}");
    Ok(())
}

#[test]
fn a_pod_may_have_the_longest_name_that_kubernetes_allows() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let (namespace, name) = ("n".repeat(63), "p".repeat(253));
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}");
    let added = cni.call("ADD").pod(&node.pod("a")?).env("CNI_ARGS", &args).run()?.added()?;
    let alias = node.link(&added.host()?.name)?.alias.context("no alias")?;
    ensure!(format!("{namespace}/{name}").starts_with(&alias) && alias.len() > 250, "{alias}");
    Ok(())
}

#[test]
fn ipv6_addresses_are_usable_at_once() -> Result<()> {
    let Fixture { node, pod, .. } = one_pod(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    let (eth0, bridge) = (pod.link("eth0")?, node.link("weir0")?);
    for link in [&eth0, &bridge] {
        let mut addresses = link.addresses.iter().filter(|address| address.local.is_ipv6());
        let tentative = addresses.find(|address| address.tentative);
        ensure!(tentative.is_none(), "{} has {tentative:?}", link.name);
    }
    ensure!(global(&eth0) == ["10.1.0.2/24", "fd00:1::2/64"], "{eth0:?}");
    ensure!(pod.route("::/0")?.gateway == Some("fd00:1::1".parse()?));
    Ok(())
}

#[test]
fn a_pod_may_have_only_ipv6() -> Result<()> {
    let Fixture { node, pod, added, .. } = one_pod(Config::new("fd00:1::/64"))?;
    ensure!(global(&pod.link("eth0")?) == ["fd00:1::2/64"]);
    ensure!(global(&node.link("weir0")?) == ["fd00:1::1/64"]);
    ensure!(added.ips.len() == 1, "{}", added.raw);
    Ok(())
}

#[test]
fn the_bridge_has_a_static_fdb_entry_for_the_pod() -> Result<()> {
    let Fixture { node, pod, added, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    let mac = pod.link("eth0")?.mac.context("no MAC")?;
    let fdb = node.fdb()?;
    let known = fdb.iter().any(|entry| {
        entry.mac == mac
            && entry.port == added.host().map(|host| &*host.name).unwrap_or_default()
            && entry.master.as_deref() == Some("weir0")
            && entry.state == "static"
    });
    ensure!(known, "{mac} is not among {fdb:?}");
    Ok(())
}

#[test]
fn the_record_matches_the_kernel() -> Result<()> {
    let node = Node::new()?;
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64").with("mtu", 1380);
    let cni = Cni::new(&node, config)?;
    let pod = node.pod("a")?;
    let args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=u-1";
    let added = cni.call("ADD").pod(&pod).env("CNI_ARGS", args).run()?.added()?;
    let host = node.link(&added.host()?.name)?;
    let record = cni.record(&host.name)?;
    for (key, value) in [
        ("version", json!(1)),
        ("network", json!("pods")),
        ("containerID", json!(pod.container_id())),
        ("ifname", json!("eth0")),
        ("netns", json!(pod.netns())),
        ("hostInterface", json!(host.name)),
        ("hostIfindex", json!(host.ifindex)),
        ("bridge", json!("weir0")),
        ("mac", json!(pod.link("eth0")?.mac)),
        ("addresses", json!(["10.1.0.2/24", "fd00:1::2/64"])),
        ("mtu", json!(1380)),
        ("pod", json!({ "namespace": "shop", "name": "cart-0", "uid": "u-1" })),
    ] {
        ensure!(record.get(key) == Some(&value), "{key} is not {value} in {record}");
    }
    ensure!(cni.records()? == [format!("{}.json", host.name)], "{:?}", cni.records()?);
    Ok(())
}

#[test]
fn a_second_add_is_refused_and_changes_nothing() -> Result<()> {
    let Fixture { node, cni, pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    let state = || -> Result<_> {
        let host = added.host()?;
        Ok((
            node.link(&host.name)?,
            pod.link("eth0")?,
            pod.routes()?,
            cni.reservations()?,
            cni.records()?,
            cni.record(&host.name)?,
            std::fs::read_to_string(cni.store()?.join("last_reserved_ip.0"))?,
        ))
    };
    let before = state()?;
    refused(cni.add(&pod), 101)?;
    ensure!(state()? == before, "before {before:#?}, after {:#?}", state()?);
    Ok(())
}

#[test]
fn del_removes_the_pod_and_keeps_the_bridge() -> Result<()> {
    let Fixture { node, cni, pod, .. } = one_pod(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    cni.del(&pod)?;
    cni.ensure_nothing_left()?;
    ensure!(pod.links()?.len() == 1, "{:?}", pod.links()?);
    ensure!(global(&node.link("weir0")?).len() == 2);
    Ok(())
}

#[test]
fn a_second_add_is_refused_even_without_the_record_of_the_first() -> Result<()> {
    let Fixture { node, cni, pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    let name = &added.host()?.name;
    std::fs::remove_file(cni.records_dir()?.join(format!("{name}.json")))?;
    let before = (node.link(name)?, pod.link("eth0")?, cni.reservations()?);
    let outcome = cni.add(&pod);
    ensure!(outcome.as_ref().is_err_and(|error| error.is::<CniError>()), "{outcome:?}");
    ensure!((node.link(name)?, pod.link("eth0")?, cni.reservations()?) == before);
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}
