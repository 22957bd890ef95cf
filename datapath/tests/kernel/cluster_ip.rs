//! A Service's address, from pod to pod of one node.

use std::net::SocketAddr;

use anyhow::Result;
use weir_datapath::common::{V4, V6, protocol};

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::{tcp, udp};

fn reaches_a_backend<A: Addresses>() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    let (vip, backend) = (A::service(10), A::pod(1));
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let (client, server) = (&scene.pods[0], &scene.pods[1]);

    let seen = tcp(client, server, address(backend, 8080), address(vip, 80), 100_000)?;
    assert_eq!(seen.client.ip(), A::pod(0).into(), "the source is preserved");
    let seen = udp(client, server, address(backend, 5353), address(vip, 53), 500)?;
    assert_eq!(seen.client.ip(), A::pod(0).into(), "the source is preserved");
    Ok(())
}

#[test]
fn a_pod_reaches_a_backend_of_its_node_by_ipv4() -> Result<()> {
    reaches_a_backend::<V4>()
}

#[test]
fn a_pod_reaches_a_backend_of_its_node_by_ipv6() -> Result<()> {
    reaches_a_backend::<V6>()
}

#[test]
fn the_verifier_looks_at_few_instructions() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    for program in &scene.loaded.programs {
        let instructions = program.instructions.expect("this kernel tells");
        println!("{:16} {instructions:7} verified instructions", program.name);
        assert!(instructions < 100_000, "{}: {instructions}", program.name);
    }
    Ok(())
}
