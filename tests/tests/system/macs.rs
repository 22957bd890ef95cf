//! MAC addresses: no two interfaces on a bridge have the same, and none has that of the bridge.

use std::net::IpAddr;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{
    Added, Cni, CniError, Config, FdbEntry, Link, Node, Observe, Pod, Stack, ping, refused,
    udp_echo,
};

use crate::fixture::{Fixture, one_pod};

const GATEWAY_MAC: &str = "0a:58:0a:01:00:01";

fn with_args(cni: &Cni, pod: &Pod, args: &str) -> Result<Added> {
    cni.call("ADD").pod(pod).env("CNI_ARGS", args).run()?.added()
}

/// The three ways to request a MAC address: the field that an error names, and the outcome of ADD.
fn request(cni: &Cni, pod: &Pod, mac: &str) -> [(&'static str, Result<Added>); 3] {
    let by_runtime = cni.reconfigured(|config| config.with_runtime("mac", mac));
    let by_args = json!({ "cni": { "mac": mac } });
    let by_args = cni.reconfigured(|config| config.with("args", by_args));
    [
        ("runtimeConfig.mac", by_runtime.add(pod)),
        ("args.cni.mac", by_args.add(pod)),
        ("CNI_ARGS", with_args(cni, pod, &format!("MAC={mac}"))),
    ]
}

/// Everything of a node that a refused ADD could change.
#[derive(Debug, PartialEq)]
struct State {
    links: Vec<Link>,
    fdb: Vec<FdbEntry>,
    store: Vec<(String, Vec<u8>)>,
    records: Vec<String>,
}

fn state(cni: &Cni) -> Result<State> {
    let mut fdb = cni.node().fdb()?;
    // Links join multicast groups some time after they are up.
    let is_multicast = |mac: &str| ["01:00:5e", "33:33:"].iter().any(|kind| mac.starts_with(kind));
    fdb.retain(|entry| !entry.state.is_empty() && !is_multicast(&entry.mac));
    let mut store = Vec::new();
    if let Ok(files) = std::fs::read_dir(cni.store()?) {
        for file in files {
            let path = file?.path();
            store.push((path.display().to_string(), std::fs::read(&path)?));
        }
    }
    store.sort();
    Ok(State { links: cni.node().links()?, fdb, store, records: cni.records()? })
}

/// Checks that a request of this MAC address by a new pod is refused with an error that names `owner`, and
/// that nothing has changed.
fn is_refused(cni: &Cni, pod: &Pod, mac: &str, owner: &str) -> Result<()> {
    let before = state(cni)?;
    for (field, outcome) in request(cni, pod, mac) {
        let error = refused(outcome, 103).with_context(|| format!("{field}: {mac}"))?;
        let text = error.to_string();
        ensure!(text.contains(mac) && text.contains(field) && text.contains(owner), "{text}");
        ensure!(state(cni)? == before, "before {before:#?}, after {:#?}", state(cni)?);
        ensure!(pod.links()?.len() == 1, "{:?}", pod.links()?);
    }
    Ok(())
}

#[test]
fn the_bridges_mac_address_cannot_be_requested() -> Result<()> {
    let Fixture { node, cni, pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    is_refused(&cni, &node.pod("thief")?, GATEWAY_MAC, "bridge weir0")?;
    ping(&pod, added.gateway()?)?;
    ping(&node, added.address()?)
}

#[test]
fn the_bridges_mac_address_cannot_be_requested_before_the_bridge_exists() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::dual_stack("fd00:1::/64", "10.1.0.0/24"))?;
    for mac in [GATEWAY_MAC, "0a:58:00:00:00:01"] {
        is_refused(&cni, &node.pod(&mac.replace(':', ""))?, mac, "the gateway")?;
    }
    ensure!(node.find_link("weir0")?.is_none());
    Ok(())
}

#[test]
fn neither_the_mac_address_of_a_foreign_bridge_nor_that_of_the_gateway_can_be_requested()
-> Result<()> {
    let node = Node::new()?;
    node.sh("ip link add weir0 address 02:00:00:00:00:01 type bridge")?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("thief")?;
    is_refused(&cni, &pod, "02:00:00:00:00:01", "bridge weir0")?;
    // The bridge has it when it is created again.
    is_refused(&cni, &pod, GATEWAY_MAC, "the gateway 10.1.0.1")
}

#[test]
fn the_bridges_mac_address_cannot_be_requested_while_its_own_entry_is_gone() -> Result<()> {
    let Fixture { node, cni, pod: _pod, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    node.sh(&format!("bridge fdb del {GATEWAY_MAC} dev weir0 self"))?;
    is_refused(&cni, &node.pod("thief")?, GATEWAY_MAC, "bridge weir0")
}

#[test]
fn the_mac_address_of_another_pod_cannot_be_requested() -> Result<()> {
    let Fixture { node, cni, pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    let thief = node.pod("thief")?;
    let (host, mac) = (&added.host()?.name, pod.link("eth0")?.mac.context("no MAC")?);
    is_refused(&cni, &thief, &mac, host)?;
    is_refused(&cni, &thief, &mac, &pod.container_id())?;
    ping(&node, added.address()?)?;
    // That of a pod that requested its own.
    let other = node.pod("other")?;
    with_args(&cni, &other, "MAC=02:11:22:33:44:55")?;
    is_refused(&cni, &thief, "02:11:22:33:44:55", &other.container_id())
}

#[test]
fn the_mac_address_of_a_port_or_of_a_machine_behind_one_cannot_be_requested() -> Result<()> {
    let Fixture { node, cni, pod: _pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    let thief = node.pod("thief")?;
    let host = node.link(&added.host()?.name)?;
    is_refused(&cni, &thief, host.mac.as_deref().context("no MAC")?, &host.name)?;
    node.sh("ip link add other type veth peer name behind")?;
    node.sh("ip link set other master weir0 up")?;
    node.sh("bridge fdb add 02:00:00:00:00:07 dev other master static")?;
    is_refused(&cni, &thief, "02:00:00:00:00:07", "interface other")
}

#[test]
fn an_address_that_the_bridge_has_only_learned_can_be_requested() -> Result<()> {
    // Otherwise a pod that sends from an address would keep others from having it.
    let Fixture { node, cni, pod, added } = one_pod(Config::new("10.1.0.0/24"))?;
    let mac = "02:11:22:33:44:55";
    // As ports of pods of earlier releases are.
    node.sh(&format!("bridge link set dev {} learning on", added.host()?.name))?;
    for line in [
        &*format!("ip link add noise link eth0 address {mac} type macvlan mode bridge"),
        "ip addr add 10.1.0.99/24 dev noise",
        "ip link set noise up",
    ] {
        pod.sh(line)?;
    }
    pod.command("ping")?.args(["-c", "1", "-w", "1", "-I", "noise", "10.1.0.1"]).finish()?;
    let of_mac = || -> Result<_> {
        Ok(node
            .fdb()?
            .into_iter()
            .filter(|entry| entry.mac == mac && entry.master.is_some())
            .collect::<Vec<_>>())
    };
    ensure!(of_mac()?.len() == 1, "not learned: {:?}", node.fdb()?);
    let owner = node.pod("owner")?;
    let owned = with_args(&cni, &owner, &format!("MAC={mac}"))?;
    let found = of_mac()?;
    ensure!(found.len() == 1 && found[0].port == owned.host()?.name, "{found:?}");
    ensure!(found[0].state == "static", "{found:?}");
    Ok(())
}

#[test]
fn two_interfaces_of_one_pod_cannot_have_the_same_mac_address() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    let args = "MAC=02:11:22:33:44:55";
    let added = with_args(&cni, &pod, args)?;
    let before = state(&cni)?;
    let second = cni.reconfigured(|config| config.with("isDefaultGateway", false));
    let second = second.call("ADD").pod(&pod).env("CNI_IFNAME", "net1").env("CNI_ARGS", args);
    let error = refused(second.run()?.added(), 103)?;
    ensure!(error.to_string().contains(&added.host()?.name), "{error}");
    ensure!(state(&cni)? == before && pod.find_link("net1")?.is_none());
    // On another bridge, the address is another one.
    let other =
        Cni::new(&node, Config::new("10.2.0.0/24").with("name", "b").with("bridge", "weir1"))?;
    let other = other.call("ADD").pod(&pod).env("CNI_IFNAME", "net1").env("CNI_ARGS", args);
    other.run()?.added()?;
    ping(&node, added.address()?)
}

#[test]
fn a_second_add_with_a_requested_mac_address_is_refused_as_a_second_add() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    for args in ["MAC=02:11:22:33:44:55", "IP=10.1.0.77"] {
        with_args(&cni, &pod, args)?;
        refused(with_args(&cni, &pod, args), 101)?;
        cni.del(&pod)?;
        // Its own address is free again.
        with_args(&cni, &pod, args)?;
        cni.del(&pod)?;
    }
    cni.ensure_nothing_left()
}

#[test]
fn one_of_several_concurrent_adds_with_one_mac_address_succeeds() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pods = (0..8).map(|i| node.pod(&format!("p{i}"))).collect::<Result<Vec<_>>>()?;
    for round in 0..5 {
        let args = format!("MAC=02:11:22:33:44:{round:02x}");
        let outcomes: Vec<Result<Added>> = thread::scope(|scope| {
            let add = |pod| {
                let (cni, args) = (&cni, &args);
                move || with_args(cni, pod, args)
            };
            let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(add(pod))).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
                .collect()
        });
        let (added, failed): (Vec<_>, Vec<_>) =
            pods.iter().zip(outcomes).partition(|(_, outcome)| outcome.is_ok());
        ensure!(added.len() == 1, "{} of 8 succeeded", added.len());
        for (pod, outcome) in failed {
            let error = outcome.err().context("no error")?.downcast::<CniError>()?;
            ensure!(error.code == 103, "{error}");
            ensure!(pod.links()?.len() == 1, "the failed ADD left {:?}", pod.links()?);
        }
        let (pod, added) = added.into_iter().next().context("no ADD succeeded")?;
        let added = added?;
        ping(&node, added.address()?)?;
        ensure!(cni.reservations()?.len() == 1 && cni.records()?.len() == 1);
        cni.del(pod)?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn an_ip_address_whose_mac_address_another_pod_requested_is_left_out() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    let (early, late, next) = (node.pod("early")?, node.pod("late")?, node.pod("next")?);
    // 10.1.0.3 is the next address, and 10.1.0.4 the one after it.
    let first = with_args(&cni, &early, "MAC=0a:58:0a:01:00:03")?;
    let second = node.pod("second")?;
    with_args(&cni, &second, "IP=10.1.0.200;MAC=0a:58:0a:01:00:04")?;
    let before = node.fdb()?.into_iter().find(|entry| entry.mac == "0a:58:0a:01:00:03");
    let added = [cni.add(&late)?, cni.add(&next)?];
    for added in &added {
        let address = added.address()?;
        ensure!(!["10.1.0.3".parse()?, "10.1.0.4".parse()?].contains(&address), "{address}");
        ensure!(added.ips.len() == 2, "{}", added.raw);
    }
    let after = node.fdb()?.into_iter().find(|entry| entry.mac == "0a:58:0a:01:00:03");
    ensure!(before == after, "before {before:?}, after {after:?}");
    ensure!(cni.reservations()?.len() == 8, "{:?}", cni.reservations()?);
    udp_echo(&late, &early, first.address()?, 100)?;
    udp_echo(&early, &late, added[0].address()?, 100)?;
    // Who asks for the address by its number learns why not.
    let asking = node.pod("asking")?;
    let before = state(&cni)?;
    let error = refused(with_args(&cni, &asking, "IP=10.1.0.3"), 103)?;
    let text = error.to_string();
    ensure!(text.contains("10.1.0.3") && text.contains(&early.container_id()), "{text}");
    ensure!(state(&cni)? == before);
    with_args(&cni, &asking, "IP=10.1.0.3;MAC=02:00:00:00:00:03").map(drop)
}

#[test]
fn an_ipv6_address_whose_mac_address_is_that_of_the_bridge_is_refused() -> Result<()> {
    let Fixture { node, cni, pod, added } = one_pod(Config::new("fd00:1::/64"))?;
    let asking = node.pod("asking")?;
    // The MAC address follows from the last four bytes, and those are the gateway's.
    let before = state(&cni)?;
    let error = refused(with_args(&cni, &asking, "IP=fd00:1::1:0:0:1"), 103)?;
    let text = error.to_string();
    ensure!(text.contains("fd00:1::1:0:0:1") && text.contains("bridge weir0"), "{text}");
    ensure!(state(&cni)? == before);
    ping(&pod, added.gateway()?)
}

#[test]
fn pods_of_two_subnets_have_different_mac_addresses() -> Result<()> {
    // Addresses of the two subnets have the same last four bytes.
    let ranges = json!([[{ "subnet": "fd00:1::/126" }, { "subnet": "fd00:2::/120" }]]);
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::with_ranges(ranges))?;
    let pods = (0..4).map(|i| node.pod(&format!("p{i}"))).collect::<Result<Vec<_>>>()?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut macs = Vec::new();
    for pod in &pods {
        addresses.push(cni.add(pod)?.ipv6()?);
        macs.extend(pod.link("eth0")?.mac);
    }
    macs.sort();
    macs.dedup();
    ensure!(macs.len() == 4, "{macs:?} of {addresses:?}");
    for address in addresses {
        ping(&node, address)?;
    }
    Ok(())
}
