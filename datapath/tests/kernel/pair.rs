//! Two nodes with a tunnel between them.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use weir_datapath::common::{Config, Route, RouteKind, V4, V6};
use weir_datapath::maps::Routes;
use weir_datapath::{Hook, Program, attach};
use weir_tests::lab::Stack;

use crate::scene::{MASQUERADE, Scene};

/// The nodes; pods of the second are numbered from 100 on.
pub(crate) struct Pair {
    pub(crate) nodes: [Scene; 2],
}

impl Pair {
    /// Two nodes with so many pods each, and these flags in their settings.
    pub(crate) fn with_pods(count: u8, flags: u32) -> Result<Self> {
        Self::with_tunnel(count, flags, "noudpcsum")
    }

    /// The same, with a tunnel that has one more option.
    pub(crate) fn with_tunnel(count: u8, flags: u32, option: &str) -> Result<Self> {
        let nodes = [Scene::node(1, count)?, Scene::node(2, count)?];
        let peer = nodes[1].node.namespaces()?.net_path();
        nodes[0].node.sh(&format!("ip link add uplink type veth peer name uplink netns {peer}"))?;
        for (scene, (own, other)) in nodes.iter().zip([(1, 2), (2, 1)]) {
            scene.set(Config { flags, masquerade_mark: MASQUERADE, ..Config::default() })?;
            tunnel(scene, own, other, option)?;
        }
        Ok(Self { nodes })
    }
}

fn tunnel(scene: &Scene, own: u8, other: u8, option: &str) -> Result<()> {
    for line in [
        format!("ip addr add 192.168.0.{own}/24 dev uplink"),
        "ip link set uplink up".to_owned(),
        format!(
            "ip link add weir.1 address 0a:00:00:00:00:{own:02x} mtu 1450 type vxlan id 1 \
             dstport 8472 local 192.168.0.{own} dev uplink nolearning {option}"
        ),
        format!("ip addr add 10.244.{own}.0/32 dev weir.1"),
        format!("ip -6 addr add fe80::{own}/64 dev weir.1 nodad"),
        format!("ip -6 addr add fd00:244:{own}::/128 dev weir.1 nodad"),
        "ip link set weir.1 up".to_owned(),
        format!("ip neigh add 10.244.{other}.0 lladdr 0a:00:00:00:00:{other:02x} dev weir.1"),
        format!("ip neigh add fe80::{other} lladdr 0a:00:00:00:00:{other:02x} dev weir.1"),
        format!("bridge fdb append 0a:00:00:00:00:{other:02x} dev weir.1 dst 192.168.0.{other}"),
        format!("ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev weir.1 onlink"),
        format!("ip -6 route add fd00:244:{other}::/64 via fe80::{other} dev weir.1"),
    ] {
        scene.node.sh(&line)?;
    }
    let ifindex = scene.ifindex("weir.1")?;
    scene.node.run(|| {
        attach(ifindex, &Program::open(&scene.pins, Hook::FromOverlay)?)?;
        Ok(())
    })?;
    set_mtu(scene, other, 1450)
}

/// Tells the programs of a node what the tunnel to the other takes.
pub(crate) fn set_mtu(scene: &Scene, other: u8, mtu: u32) -> Result<()> {
    let ifindex = scene.ifindex("weir.1")?;
    scene.node.run(|| {
        let kind = RouteKind::RemotePods as u32;
        let next_hop = V4::from(Ipv4Addr::new(10, 244, other, 0));
        let route = Route { kind, ifindex, mtu, next_hop };
        Routes::open(&scene.pins)?.set(next_hop, 24, &route)?;
        let prefix = V6::from(Ipv6Addr::new(0xfd00, 0x244, other.into(), 0, 0, 0, 0, 0));
        let next_hop = V6::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, other.into()));
        let route = Route { kind, ifindex, mtu, next_hop };
        Routes::open(&scene.pins)?.set(prefix, 64, &route)?;
        Ok(())
    })
}
