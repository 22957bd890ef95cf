//! A Service whose backend is on another node.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use weir_datapath::common::{Config, Reason, V4, V6, protocol};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::pair::{self, Pair};
use crate::traffic::{tcp, udp};

fn reaches_a_backend<A: Addresses>(flags: u32) -> Result<()> {
    let mut pair = Pair::with_pods(1, flags)?;
    let (vip, backend) = (A::service(10), A::pod(100));
    let [near, far] = &mut pair.nodes;
    near.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    near.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let (client, server) = (&near.pods[0], &far.pods[0]);

    let before = near.transmitted("weir0")?;
    let seen = tcp(client, server, address(backend, 8080), address(vip, 80), 3_000_000)?;
    assert_eq!(seen.client.ip(), A::pod(0).into(), "the source is preserved");
    let bridged = near.transmitted("weir0")? - before;
    if flags & Config::FAST_PATH == 0 {
        ensure!(bridged > 3_000_000, "{bridged} bytes came back by the bridge");
    } else {
        ensure!(bridged < 10_000, "{bridged} bytes came back by the bridge");
    }
    for size in [500, 8_000, 60_000] {
        let seen = udp(client, server, address(backend, 5353), address(vip, 53), size)?;
        assert_eq!(seen.client.ip(), A::pod(0).into(), "the source is preserved");
    }
    tcp(client, server, address(backend, 8080), address(backend, 8080), 100_000)?;
    tcp(server, client, address(A::pod(0), 8080), address(A::pod(0), 8080), 100_000)?;
    Ok(())
}

#[test]
fn a_pod_reaches_a_backend_of_another_node_by_ipv4() -> Result<()> {
    reaches_a_backend::<V4>(0)
}

#[test]
fn a_pod_reaches_a_backend_of_another_node_by_ipv6() -> Result<()> {
    reaches_a_backend::<V6>(0)
}

#[test]
fn a_pod_reaches_a_backend_of_another_node_past_the_stack_by_ipv4() -> Result<()> {
    reaches_a_backend::<V4>(Config::FAST_PATH)
}

#[test]
fn a_pod_reaches_a_backend_of_another_node_past_the_stack_by_ipv6() -> Result<()> {
    reaches_a_backend::<V6>(Config::FAST_PATH)
}

/// What the tunnel does not take goes by the stack, which tells the sender.
fn learns_the_mtu<A: Addresses>() -> Result<()> {
    let mut pair = Pair::with_pods(1, Config::FAST_PATH)?;
    let (vip, backend) = (A::service(10), A::pod(100));
    let [near, far] = &mut pair.nodes;
    near.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    for scene in [&near, &far] {
        scene.node.sh("ip link set weir.1 mtu 1300")?;
    }
    pair::set_mtu(near, 2, 1300)?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let (listen, target) = (address(backend, 8080), address(vip, 80));
    tcp(&near.pods[0], &far.pods[0], listen, target, 300_000)?;
    ensure!(near.counted(Reason::StackMtu)? > 0, "nothing went by the stack");
    let route = near.pods[0].sh(&format!("ip route get {}", Into::<IpAddr>::into(vip)))?;
    ensure!(route.contains("mtu 1300"), "{route}");
    Ok(())
}

#[test]
fn a_smaller_tunnel_is_noticed_by_ipv4() -> Result<()> {
    learns_the_mtu::<V4>()
}

#[test]
fn a_smaller_tunnel_is_noticed_by_ipv6() -> Result<()> {
    learns_the_mtu::<V6>()
}
