//! A pod that is its own backend.

use std::net::SocketAddr;

use anyhow::Result;
use weir_datapath::common::{Config, Reason, V4, V6, protocol};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::{MASQUERADE, Scene};
use crate::traffic::{tcp, udp};

fn reaches_itself<A: Addresses>(flags: u32) -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    scene.set(Config { flags, masquerade_mark: MASQUERADE, ..Config::default() })?;
    for line in [
        "add table inet weir",
        "add chain inet weir post { type nat hook postrouting priority 100 ; }",
        "add rule inet weir post meta mark & 0x100 == 0x100 masquerade",
    ] {
        scene.node.sh(&format!("nft {line}"))?;
    }
    let (vip, backend) = (A::service(10), A::pod(0));
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let pod = &scene.pods[0];
    let seen = tcp(pod, pod, address(backend, 8080), address(vip, 80), 100_000)?;
    assert_eq!(seen.client.ip(), A::bridge().into(), "it is masqueraded");
    udp(pod, pod, address(backend, 5353), address(vip, 53), 500)?;
    assert!(scene.counted(Reason::Hairpin)? > 2);
    Ok(())
}

#[test]
fn a_pod_reaches_itself_through_its_service_by_ipv4() -> Result<()> {
    reaches_itself::<V4>(0)?;
    reaches_itself::<V4>(Config::FAST_PATH)
}

#[test]
fn a_pod_reaches_itself_through_its_service_by_ipv6() -> Result<()> {
    reaches_itself::<V6>(0)?;
    reaches_itself::<V6>(Config::FAST_PATH)
}
