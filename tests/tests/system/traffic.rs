//! Traffic: pods reach each other, the node and themselves as soon as ADD returns.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{
    Cni, Config, FdbEntry, Node, Observe, Pod, Stack, ping, tcp_echo, tcp_transfer, udp_echo,
};

const MEGABYTE: usize = 1 << 20;

struct Pair {
    node: Node,
    a: (Pod, Vec<IpAddr>),
    b: (Pod, Vec<IpAddr>),
}

fn two_pods(config: Config) -> Result<Pair> {
    let node = Node::new()?;
    let cni = Cni::new(&node, config)?;
    let add = |name| -> Result<_> {
        let pod = node.pod(name)?;
        let added = cni.add(&pod)?;
        let addresses = added.ips.iter().map(|ip| ip.address.ip()).collect();
        Ok((pod, addresses))
    };
    let (a, b) = (add("a")?, add("b")?);
    Ok(Pair { node, a, b })
}

fn talk(client: &impl Stack, server: &impl Stack, address: IpAddr) -> Result<()> {
    tcp_echo(client, server, address, b"hello")?;
    tcp_transfer(client, server, address, 4 * MEGABYTE)?;
    udp_echo(client, server, address, 100)?;
    udp_echo(client, server, address, 30_000)?;
    ping(client, address)
}

#[test]
fn pods_talk_to_each_other_over_both_families() -> Result<()> {
    let Pair { node: _node, a, b } = two_pods(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    ensure!(a.1.len() == 2 && b.1.len() == 2);
    for (to_a, to_b) in a.1.iter().zip(&b.1) {
        talk(&a.0, &b.0, *to_b)?;
        talk(&b.0, &a.0, *to_a)?;
    }
    Ok(())
}

#[test]
fn pods_and_their_node_talk_to_each_other() -> Result<()> {
    let Pair { node, a, .. } = two_pods(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    for (pod, gateway) in a.1.iter().zip(["10.1.0.1", "fd00:1::1"]) {
        talk(&node, &a.0, *pod)?;
        talk(&a.0, &node, gateway.parse()?)?;
    }
    Ok(())
}

#[test]
fn ipv6_is_usable_the_instant_add_returns() -> Result<()> {
    // Duplicate address detection takes a second or more. No pod may have to wait for it, not even
    // the first one, on a new bridge.
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("fd00:1::/64"))?;
    let pods = (0..10).map(|i| node.pod(&format!("p{i}"))).collect::<Result<Vec<_>>>()?;
    for pod in &pods {
        let address = cni.add(pod)?.ipv6()?;
        // The kernel refuses to bind to a tentative address.
        tcp_echo(&node, pod, address, b"at once")
            .with_context(|| format!("{:?}", pod.link("eth0")))?;
        tcp_echo(pod, &node, "fd00:1::1".parse()?, b"and back")?;
    }
    Ok(())
}

#[test]
fn a_pod_reaches_machines_outside_of_its_node() -> Result<()> {
    let Pair { node, a, .. } = two_pods(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    let machine = node.pod("machine")?;
    let netns = machine.netns().display().to_string();
    node.sh(&format!("ip link add up0 type veth peer name eth0 netns {netns}"))?;
    for line in [
        "ip addr add 192.0.2.1/24 dev up0",
        "ip -6 addr add fd00:2::1/64 dev up0 nodad",
        "ip link set up0 up",
    ] {
        node.sh(line)?;
    }
    for line in [
        "ip addr add 192.0.2.9/24 dev eth0",
        "ip -6 addr add fd00:2::9/64 dev eth0 nodad",
        "ip link set eth0 up",
        "ip route add default via 192.0.2.1",
        "ip -6 route add default via fd00:2::1",
    ] {
        machine.sh(line)?;
    }
    for (pod, outside) in a.1.iter().zip(["192.0.2.9", "fd00:2::9"]) {
        tcp_echo(&a.0, &machine, outside.parse()?, b"out")?;
        tcp_echo(&machine, &a.0, *pod, b"in")?;
    }
    Ok(())
}

/// Whether two stations behind the same pod reach each other. Their only path is the bridge.
fn reflects(config: Config) -> Result<bool> {
    let node = Node::new()?;
    let pod = node.pod("a")?;
    Cni::new(&node, config)?.add(&pod)?;
    let stations = [node.pod("x")?, node.pod("y")?];
    for (station, address) in stations.iter().zip(["10.1.0.91/24", "10.1.0.92/24"]) {
        let (name, netns) = (station.name(), station.netns().display());
        pod.sh(&format!("ip link add link eth0 name {name} netns {netns} type macvlan mode vepa"))?;
        station.sh(&format!("ip addr add {address} dev {name}"))?;
        station.sh(&format!("ip link set {name} up"))?;
    }
    let [x, _y] = &stations;
    Ok(x.command("ping")?
        .args(["-n", "-c", "1", "-w", "2", "10.1.0.92"])
        .finish()?
        .status
        .success())
}

#[test]
fn a_frame_leaves_through_its_ingress_port_only_in_hairpin_mode() -> Result<()> {
    // A pod that reaches itself through a Service needs this.
    ensure!(reflects(Config::new("10.1.0.0/24"))?, "hairpin mode does not work");
    let without = Config::new("10.1.0.0/24").with("hairpinMode", false);
    ensure!(!reflects(without)?, "frames are reflected without hairpin mode");
    Ok(())
}

#[test]
fn a_pod_cannot_take_over_the_mac_address_of_another() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let (victim, thief) = (node.pod("victim")?, node.pod("thief")?);
    let added = cni.add(&victim)?;
    cni.add(&thief)?;
    let mac = victim.link("eth0")?.mac.context("no MAC")?;
    let fdb_entries = || -> Result<Vec<FdbEntry>> {
        let mut entries = node.fdb()?;
        entries.retain(|entry| entry.mac == mac && entry.master.is_some());
        Ok(entries)
    };
    let before = fdb_entries()?;
    ensure!(before.len() == 1 && before[0].port == added.host()?.name, "{before:?}");
    // The thief sends from the victim's MAC address. A reply is not needed.
    thief.sh(&format!("ip link set eth0 address {mac}"))?;
    thief.command("ping")?.args(["-c", "1", "-w", "1", "10.1.0.1"]).finish()?;
    ensure!(fdb_entries()? == before, "before {before:?}, after {:?}", fdb_entries()?);
    ping(&node, added.address()?)
}

#[test]
fn pods_of_two_networks_share_a_node() -> Result<()> {
    let node = Node::new()?;
    let first = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let second = Cni::new(
        &node,
        Config::with_ranges(json!([[{ "subnet": "10.2.0.0/24" }]]))
            .with("name", "second")
            .with("bridge", "weir1"),
    )?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let (_, b_added) = (first.add(&a)?, second.add(&b)?);
    tcp_echo(&a, &b, b_added.address()?, b"through the node")?;
    first.del(&a)?;
    ensure!(second.reservations()?.len() == 1);
    ping(&node, b_added.address()?)
}
