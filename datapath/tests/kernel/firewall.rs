//! A firewall on the node that drops what conntrack takes for invalid.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use weir_datapath::common::{Config, V4, V6, protocol};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::pair::Pair;
use crate::scene::Scene;
use crate::traffic::{tcp, udp};

/// Rules that activate connection tracking, and count and drop what is invalid.
fn set_up(scene: &Scene, bridged: bool) -> Result<()> {
    for name in ["iptables", "ip6tables"] {
        let value = if bridged { "1" } else { "0" };
        scene.node.set_sysctl(&format!("net/bridge/bridge-nf-call-{name}"), value)?;
    }
    for line in [
        "add table inet fw",
        "add chain inet fw own { type filter hook input priority 0 ; }",
        "add chain inet fw routed { type filter hook forward priority 0 ; }",
        "add rule inet fw own ct state invalid counter drop",
        "add rule inet fw routed ct state invalid counter drop",
        "add chain inet fw post { type nat hook postrouting priority 100 ; }",
        "add rule inet fw post meta mark & 0x100 == 0x100 masquerade",
    ] {
        scene.node.sh(&format!("nft {line}"))?;
    }
    Ok(())
}

fn dropped(scene: &Scene) -> Result<u64> {
    let rules: serde_json::Value =
        serde_json::from_str(&scene.node.sh("nft -j list table inet fw")?)?;
    let list = rules.get("nftables").and_then(|list| list.as_array()).context("no rules")?;
    let counters = list.iter().filter_map(|item| item.pointer("/rule/expr")?.as_array());
    let packets = counters.flatten().filter_map(|e| e.pointer("/counter/packets")?.as_u64());
    Ok(packets.sum())
}

fn drops_nothing<A: Addresses>(flags: u32, bridged: bool) -> Result<()> {
    let mut pair = Pair::with_pods(2, flags)?;
    for scene in &pair.nodes {
        set_up(scene, bridged)?;
    }
    let vip = A::service(10);
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    for backend in [1, 100] {
        let own = A::pod(backend);
        let near = &mut pair.nodes[0];
        near.service((vip, 80, protocol::TCP), &[(own, 8080)])?;
        near.service((vip, 53, protocol::UDP), &[(own, 5353)])?;
        let client = &pair.nodes[0].pods[0];
        let server = &pair.nodes[usize::from(backend / 100)].pods[usize::from(backend % 100)];
        tcp(client, server, address(own, 8080), address(vip, 80), 200_000)?;
        udp(client, server, address(own, 5353), address(vip, 53), 8_000)?;
        tcp(client, server, address(own, 8080), address(own, 8080), 200_000)?;
    }
    for scene in &pair.nodes {
        assert_eq!(dropped(scene)?, 0, "flags {flags}, bridged packets seen: {bridged}");
    }
    Ok(())
}

#[test]
fn nothing_is_invalid_to_conntrack_by_ipv4() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        drops_nothing::<V4>(flags, false)?;
        drops_nothing::<V4>(flags, true)?;
    }
    Ok(())
}

#[test]
fn nothing_is_invalid_to_conntrack_by_ipv6() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        drops_nothing::<V6>(flags, false)?;
        drops_nothing::<V6>(flags, true)?;
    }
    Ok(())
}
