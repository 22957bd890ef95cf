//! Datagrams larger than a packet.

use std::net::SocketAddr;

use anyhow::Result;
use weir_datapath::common::{Config, V4, V6, protocol};

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::udp;

fn passes<A: Addresses>(flags: u32) -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    scene.set(Config { flags, ..Config::default() })?;
    let (vip, backend) = (A::service(10), A::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let listen = SocketAddr::new(backend.into(), 5353);
    let target = SocketAddr::new(vip.into(), 53);
    for size in [8_000, 60_000] {
        udp(&scene.pods[0], &scene.pods[1], listen, target, size)?;
    }
    Ok(())
}

#[test]
fn fragments_pass_both_ways_by_ipv4() -> Result<()> {
    passes::<V4>(0)?;
    passes::<V4>(Config::FAST_PATH)
}

#[test]
fn fragments_pass_both_ways_by_ipv6() -> Result<()> {
    passes::<V6>(0)?;
    passes::<V6>(Config::FAST_PATH)
}
