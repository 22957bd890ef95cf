//! A pod speaks only for itself.

use anyhow::{Context, Result, ensure};
use etherparse::{IpNumber, PacketBuilder};
use weir_datapath::common::{
    Config, Flow, FlowKey, Reason, Route, RouteKind, V4, V6, map, protocol,
};
use weir_datapath::maps::{Family, Routes, Table};
use weir_datapath::{Action, Hook};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::frames::{arp, at, bytes, from_pod, icmp, mac, passes, tcp, udp};
use crate::scene::Scene;

const TUNNEL: u16 = 8472;

fn scene<A: Addresses>(flags: u32) -> Result<Scene> {
    let mut scene = Scene::with_pods(3)?;
    scene.set(Config { flags, tunnel_port: TUNNEL.into(), ..Config::default() })?;
    scene.service((A::service(10), 80, protocol::TCP), &[(A::pod(2), 8080)])?;
    scene.service((A::service(10), 53, protocol::UDP), &[(A::pod(2), 5353)])?;
    Ok(scene)
}

fn route<A: Family>(scene: &Scene, network: (A, u32), kind: RouteKind, link: u32) -> Result<()> {
    let route = Route { kind: kind as u32, ifindex: link, mtu: 1450, next_hop: A::default() };
    scene.node.run(|| Ok(Routes::open(&scene.pins)?.set(network.0, network.1, &route)?))
}

fn is_dropped(scene: &Scene, pod: u8, frame: &[u8], reason: Reason) -> Result<()> {
    let before = scene.counted(reason)?;
    let trial = from_pod(scene, pod, frame)?;
    ensure!(!passes(&trial), "{trial:?}");
    ensure!(scene.counted(reason)? == before + 1, "not counted as {}", reason.name());
    Ok(())
}

fn goes_on(scene: &Scene, pod: u8, frame: &[u8]) -> Result<()> {
    let trial = from_pod(scene, pod, frame)?;
    ensure!(passes(&trial), "{trial:?}");
    Ok(())
}

fn forged_packets_are_dropped<A: Addresses>() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        let scene = scene::<A>(flags)?;
        let (victim, vip) = (A::pod(0), A::service(10));
        goes_on(&scene, 0, &tcp((victim, 4000), (vip, 80), (7, "S"))?)?;
        let flows = scene.table::<FlowKey<A>, Flow<A>>(A::FLOWS_TCP)?;
        let before = flows.entries()?;
        for (name, frame) in [
            ("a SYN by its ports", tcp((victim, 4000), (vip, 80), (9, "S"))?),
            ("a segment of its connection", tcp((victim, 4000), (vip, 80), (8, "A"))?),
            ("a reset of its connection", tcp((victim, 4000), (vip, 80), (8, "R"))?),
            ("a SYN of another connection", tcp((victim, 4001), (vip, 80), (7, "S"))?),
            ("a datagram to a Service", udp((victim, 4000), (vip, 53))?),
            ("a datagram to a pod", udp((victim, 4000), (A::pod(2), 53))?),
            ("a reply of the backend", tcp((A::pod(2), 8080), (victim, 4000), (1, "SA"))?),
            ("a packet of the Service", udp((vip, 53), (victim, 4000))?),
            ("a packet of a machine outside", udp((A::service(99), 53), (victim, 4000))?),
            ("an ICMP error", icmp(victim, A::pod(2), 3, &[0; 40])?),
        ] {
            is_dropped(&scene, 1, &frame, Reason::DroppedSource)
                .with_context(|| format!("{name}, flags {flags}"))?;
        }
        ensure!(flows.entries()? == before, "a flow has changed");
    }
    Ok(())
}

#[test]
fn a_packet_with_the_address_of_another_is_dropped_by_ipv4() -> Result<()> {
    forged_packets_are_dropped::<V4>()
}

#[test]
fn a_packet_with_the_address_of_another_is_dropped_by_ipv6() -> Result<()> {
    forged_packets_are_dropped::<V6>()
}

#[test]
fn a_pod_that_routes_may_send_with_any_address() -> Result<()> {
    let scene = scene::<V4>(Config::FAST_PATH)?;
    let forged = udp((V4::service(99), 53), (V4::pod(2), 4000))?;
    is_dropped(&scene, 1, &forged, Reason::DroppedSource)?;
    let device = scene.ifindex("veth1")?;
    let mut routers: Table<u32, u32> = scene.table(map::ROUTERS)?;
    routers.set(&device, &1)?;
    goes_on(&scene, 1, &forged)?;
    is_dropped(&scene, 0, &forged, Reason::DroppedSource).context("another pod")?;
    scene.set_exactly(Config::default())?;
    goes_on(&scene, 0, &forged).context("without the check")
}

#[test]
fn an_arp_message_names_the_pod_that_sends_it() -> Result<()> {
    let scene = scene::<V4>(0)?;
    let (own, other) = (V4::pod(0).bytes(), V4::pod(1).bytes());
    for is_reply in [false, true] {
        goes_on(&scene, 0, &arp(is_reply, (mac(0), own), mac(0)))?;
        for (name, frame) in [
            ("the address of a neighbour", arp(is_reply, (mac(0), other), mac(0))),
            ("the gateway's address", arp(is_reply, (mac(0), [10, 244, 1, 1]), mac(0))),
            ("the MAC address of a neighbour", arp(is_reply, (mac(1), own), mac(0))),
            ("a frame of a neighbour", arp(is_reply, (mac(0), own), mac(1))),
        ] {
            is_dropped(&scene, 0, &frame, Reason::DroppedSource).context(name)?;
        }
    }
    let probe = |is_reply, target: [u8; 4]| {
        let mut frame = arp(is_reply, (mac(0), [0; 4]), mac(0));
        frame.truncate(frame.len() - 4);
        frame.extend(target);
        frame
    };
    goes_on(&scene, 0, &probe(false, own)).context("a probe")?;
    for frame in [probe(false, other), probe(true, own), probe(true, other)] {
        is_dropped(&scene, 0, &frame, Reason::DroppedSource).context("a probe of others")?;
    }
    let mut other = arp(false, (mac(0), own), mac(0));
    other[12..14].copy_from_slice(&[0x88, 0xcc]);
    is_dropped(&scene, 0, &other, Reason::DroppedSource).context("another protocol")
}

fn neighbour(target: V6) -> Vec<u8> {
    [vec![0; 4], bytes(target)].concat()
}

#[test]
fn neighbour_discovery_speaks_of_the_pods_own_addresses() -> Result<()> {
    let scene = scene::<V6>(0)?;
    let (own, other, link_local) = (V6::pod(0), V6::pod(1), mac(0).link_local());
    let (nobody, all) = (V6::default(), V6::from("ff02::1".parse::<std::net::Ipv6Addr>()?));
    for (name, source, kind, target) in [
        ("an advertisement of its address", own, 136, own),
        ("an advertisement of its link-local address", link_local, 136, link_local),
        ("a question for a neighbour", own, 135, other),
        ("a question for a neighbour from link-local", link_local, 135, other),
        ("whether its address is free", nobody, 135, own),
        ("whether its link-local address is free", nobody, 135, link_local),
        ("a router solicitation", link_local, 133, nobody),
        ("a router solicitation without an address", nobody, 133, nobody),
        ("a report of a listener", nobody, 143, nobody),
    ] {
        goes_on(&scene, 0, &icmp(source, all, kind, &neighbour(target))?).context(name)?;
    }
    for (name, source, kind, target) in [
        ("an advertisement of a neighbour's address", own, 136, other),
        ("an advertisement of the gateway", link_local, 136, V6::bridge()),
        ("whether a neighbour's address is free", nobody, 135, other),
        ("a neighbour's link-local address", mac(1).link_local(), 135, other),
        ("an echo request without an address", nobody, 128, own),
    ] {
        let frame = icmp(source, all, kind, &neighbour(target))?;
        is_dropped(&scene, 0, &frame, Reason::DroppedSource).context(name)?;
    }
    Ok(())
}

#[test]
fn a_pod_is_no_router() -> Result<()> {
    let scene = scene::<V6>(0)?;
    let all = V6::from("ff02::1".parse::<std::net::Ipv6Addr>()?);
    for kind in [130, 134, 137] {
        let frame = icmp(mac(0).link_local(), all, kind, &[0; 36])?;
        is_dropped(&scene, 0, &frame, Reason::DroppedRouter)?;
        is_dropped(&scene, 0, &icmp(V6::pod(0), all, kind, &[0; 36])?, Reason::DroppedRouter)?;
    }
    for kind in [5, 9] {
        let frame = icmp(V4::pod(0), V4::pod(1), kind, &[0; 36])?;
        is_dropped(&scene, 0, &frame, Reason::DroppedRouter)?;
    }
    let mut query = Vec::new();
    let ip = PacketBuilder::ethernet2(mac(0).0, [1, 0, 0x5e, 0, 0, 1]).ipv4(
        V4::pod(0).bytes(),
        [224, 0, 0, 1],
        1,
    );
    ip.write(&mut query, IpNumber::IGMP, &[0x11, 100, 0, 0, 0, 0, 0, 0])?;
    is_dropped(&scene, 0, &query, Reason::DroppedRouter).context("a query of listeners")
}

fn tunnel_is_for_nodes<A: Addresses>() -> Result<()> {
    let mut scene = scene::<A>(Config::FAST_PATH)?;
    let (own, node) = (A::pod(0), A::service(200));
    route(&scene, (node, A::BITS), RouteKind::Node, 0)?;
    let to_node = udp((own, 4000), (node, TUNNEL))?;
    is_dropped(&scene, 0, &to_node, Reason::DroppedTunnel).context("to a node")?;
    goes_on(&scene, 0, &udp((own, 4000), (node, 53))?).context("to another port")?;
    goes_on(&scene, 0, &udp((own, 4000), (A::pod(1), TUNNEL))?).context("to a pod")?;
    scene.service((A::service(11), 53, protocol::UDP), &[(node, TUNNEL)])?;
    let by_service = udp((own, 4000), (A::service(11), 53))?;
    is_dropped(&scene, 0, &by_service, Reason::DroppedTunnel).context("by a Service")
}

#[test]
fn a_pod_does_not_reach_the_tunnel_of_a_node_by_ipv4() -> Result<()> {
    tunnel_is_for_nodes::<V4>()
}

#[test]
fn a_pod_does_not_reach_the_tunnel_of_a_node_by_ipv6() -> Result<()> {
    tunnel_is_for_nodes::<V6>()
}

fn outside_is_checked<A: Addresses>() -> Result<()> {
    let scene = scene::<A>(0)?;
    let prefix = if A::BITS == 128 { 64 } else { 24 };
    scene.node.sh("ip link add tunnel type bridge")?;
    let tunnel = scene.ifindex("tunnel")?;
    route(&scene, (A::pod(0), prefix), RouteKind::LocalPods, 0)?;
    route(&scene, (A::pod(100), prefix), RouteKind::RemotePods, tunnel)?;
    // The client of this flow is a pod.
    goes_on(&scene, 0, &tcp((A::pod(0), 4000), (A::service(10), 80), (7, "S"))?)?;
    let vip = (A::service(10), 80);
    for (name, hook, device, source, is_right) in [
        ("a machine outside", Hook::FromUplink, "weir0", A::service(99), true),
        ("a Service", Hook::FromUplink, "weir0", A::service(10), false),
        ("a pod of this node", Hook::FromUplink, "weir0", A::pod(0), false),
        ("an address without a pod", Hook::FromUplink, "weir0", A::pod(50), false),
        ("a pod of another node", Hook::FromUplink, "weir0", A::pod(100), false),
        ("a pod of this node, by the tunnel", Hook::FromOverlay, "tunnel", A::pod(0), false),
        ("a pod of another node, by the tunnel", Hook::FromOverlay, "tunnel", A::pod(100), true),
    ] {
        let trial = at(&scene, hook, device, &tcp((source, 4000), vip, (8, "A"))?)?;
        ensure!(passes(&trial) == is_right, "{name}: {trial:?}");
        // The tunnel's port is no exception.
        let trial = at(&scene, hook, device, &udp((source, 4000), (A::pod(1), TUNNEL))?)?;
        ensure!(passes(&trial) == is_right, "{name}, to the tunnel's port: {trial:?}");
    }
    Ok(())
}

/// A pod of another node is reached past the stack both ways; a node is not.
fn remote_pods_bypass_the_stack<A: Addresses>() -> Result<()> {
    let scene = scene::<A>(Config::FAST_PATH)?;
    scene.node.sh("ip link add tunnel type bridge")?;
    let tunnel = scene.ifindex("tunnel")?;
    route(&scene, (A::pod(100), A::BITS), RouteKind::RemotePods, tunnel)?;
    route(&scene, (A::service(200), A::BITS), RouteKind::Node, 0)?;
    for (source, action) in [(A::pod(100), Action::Redirect), (A::service(200), Action::Stack)] {
        let frame = tcp((source, 4000), (A::pod(0), 80), (8, "A"))?;
        let trial = at(&scene, Hook::FromOverlay, "tunnel", &frame)?;
        ensure!(trial.action == action, "{trial:?}");
    }
    Ok(())
}

#[test]
fn what_pods_of_other_nodes_send_to_pods_bypasses_the_stack_and_what_nodes_send_does_not()
-> Result<()> {
    remote_pods_bypass_the_stack::<V4>()?;
    remote_pods_bypass_the_stack::<V6>()
}

#[test]
fn a_packet_from_outside_with_the_address_of_a_pod_is_dropped_by_ipv4() -> Result<()> {
    outside_is_checked::<V4>()
}

#[test]
fn a_packet_from_outside_with_the_address_of_a_pod_is_dropped_by_ipv6() -> Result<()> {
    outside_is_checked::<V6>()
}

/// Packets to the tunnel's port that come in by an uplink. What is not marked, the kernel's rules look at.
fn peers_are_admitted<A: Addresses>() -> Result<()> {
    const MARKS: u32 = 0x00c0_0000;
    let scene = scene::<A>(0)?;
    let (tunnel_port, reply_mark, reject_mark) = (TUNNEL.into(), 0x0040_0000, 0x0080_0000);
    scene.set(Config { tunnel_port, reply_mark, reject_mark, ..Config::default() })?;
    scene.node.sh("ip link add other type bridge")?;
    let (own, peer, elsewhere, silent) =
        (A::service(200), A::service(201), A::service(202), A::service(203));
    let (uplink, other) = (scene.ifindex("weir0")?, scene.ifindex("other")?);
    for (address, link) in [(own, 0), (peer, uplink), (elsewhere, other), (silent, 0)] {
        route(&scene, (address, A::BITS), RouteKind::Node, link)?;
    }
    let to = (own, TUNNEL);
    for (name, from, to, marks) in [
        ("a peer", peer, to, MARKS),
        ("a peer that the uplink does not lead to", elsewhere, to, 0),
        ("a node that sends nothing by a tunnel", silent, to, 0),
        ("this node", own, to, 0),
        ("a machine outside", A::service(99), to, 0),
        ("a pod of another node", A::pod(100), to, 0),
        ("a peer, to a pod with the same port", peer, (A::pod(0), TUNNEL), 0),
        ("a peer, to another port", peer, (own, 53), 0),
    ] {
        let trial = at(&scene, Hook::FromUplink, "weir0", &udp((from, 4000), to)?)?;
        ensure!(passes(&trial) && trial.mark == marks, "{name}: {trial:?}");
    }
    let by_tcp = tcp((peer, 4000), to, (8, "A"))?;
    let trial = at(&scene, Hook::FromUplink, "weir0", &by_tcp)?;
    ensure!(passes(&trial) && trial.mark == 0, "TCP: {trial:?}");
    Ok(())
}

#[test]
fn the_tunnels_packets_of_a_peer_are_marked_where_they_come_in_by_ipv4() -> Result<()> {
    peers_are_admitted::<V4>()
}

#[test]
fn the_tunnels_packets_of_a_peer_are_marked_where_they_come_in_by_ipv6() -> Result<()> {
    peers_are_admitted::<V6>()
}

#[test]
fn pods_talk_by_their_link_local_addresses() -> Result<()> {
    let scene = scene::<V6>(0)?;
    let target = std::net::Ipv6Addr::from(mac(1).link_local());
    scene.pods[0].sh(&format!("ping -6 -c 1 -W 5 {target}%eth0"))?;
    Ok(())
}

/// The kernel takes off any number of tags of VLAN 0, but all except one after the programs.
fn tags_hide_nothing<A: Addresses>() -> Result<()> {
    let scene = scene::<A>(0)?;
    let frame = tcp((A::pod(0), 4000), (A::pod(1), 80), (8, "A"))?;
    let tagged = |protocol: u16, vlan: u16| {
        let (addresses, rest) = frame.split_at(12);
        [addresses, &protocol.to_be_bytes(), &vlan.to_be_bytes(), rest].concat()
    };
    for hook in [Hook::FromUplink, Hook::FromOverlay] {
        for protocol in [0x8100, 0x88a8] {
            for (vlan, is_right) in [(0, false), (0xe000, false), (7, true)] {
                let trial = at(&scene, hook, "weir0", &tagged(protocol, vlan))?;
                ensure!(passes(&trial) == is_right, "{hook:?}, {protocol:#x}, {vlan}: {trial:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn tags_of_vlan_0_hide_no_packet_from_outside() -> Result<()> {
    tags_hide_nothing::<V4>()?;
    tags_hide_nothing::<V6>()
}

/// The error about a packet that somebody has sent to a destination.
fn error<A: Addresses>(from: A, to: A, quoted: (A, A)) -> Result<Vec<u8>> {
    let quoted = udp((quoted.0, 53), (quoted.1, 4000))?;
    let rest = quoted.get(14..).context("an IP packet")?;
    let kind = if A::BITS == 128 { 1 } else { 3 };
    icmp(from, to, kind, &[&[0; 4], rest].concat())
}

fn errors_are_about_own_packets<A: Addresses>() -> Result<()> {
    let scene = scene::<A>(0)?;
    let (own, client, other) = (A::pod(1), A::pod(0), A::pod(2));
    goes_on(&scene, 1, &error(own, client, (client, own))?)?;
    for (to, quoted) in [
        (client, (client, other)),
        (client, (client, A::service(10))),
        (A::service(10), (A::service(10), client)),
    ] {
        is_dropped(&scene, 1, &error(own, to, quoted)?, Reason::DroppedSource)?;
    }
    Ok(())
}

#[test]
fn a_pod_reports_errors_about_packets_to_itself_only() -> Result<()> {
    errors_are_about_own_packets::<V4>()?;
    errors_are_about_own_packets::<V6>()
}
