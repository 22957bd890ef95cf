//! A Service's address, from pod to pod of one node.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use weir_datapath::common::{Config, V4, V6, protocol};

use crate::family::Addresses;
use crate::scene::{MASQUERADE, Scene};
use crate::traffic::{tcp, udp};

fn reaches_a_backend<A: Addresses>(flags: u32) -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    scene.set(Config { flags, masquerade_mark: MASQUERADE, ..Config::default() })?;
    let (vip, backend) = (A::service(10), A::pod(1));
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let (client, server) = (&scene.pods[0], &scene.pods[1]);

    let seen = tcp(client, server, address(backend, 8080), address(vip, 80), 1_000_000)?;
    assert_eq!(seen.client.ip(), A::pod(0).into(), "the source is preserved");
    let seen = udp(client, server, address(backend, 5353), address(vip, 53), 500)?;
    assert_eq!(seen.client.ip(), A::pod(0).into(), "the source is preserved");
    // Directly, and in the other direction.
    tcp(client, server, address(backend, 8080), address(backend, 8080), 100_000)?;
    tcp(server, client, address(A::pod(0), 8080), address(A::pod(0), 8080), 100_000)?;
    Ok(())
}

#[test]
fn a_pod_reaches_a_backend_of_its_node_by_ipv4() -> Result<()> {
    reaches_a_backend::<V4>(0)
}

#[test]
fn a_pod_reaches_a_backend_of_its_node_by_ipv6() -> Result<()> {
    reaches_a_backend::<V6>(0)
}

#[test]
fn a_pod_reaches_a_backend_of_its_node_past_the_stack_by_ipv4() -> Result<()> {
    reaches_a_backend::<V4>(Config::FAST_PATH)
}

#[test]
fn a_pod_reaches_a_backend_of_its_node_past_the_stack_by_ipv6() -> Result<()> {
    reaches_a_backend::<V6>(Config::FAST_PATH)
}

#[test]
fn the_fast_path_sends_nothing_through_the_bridge() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    let transfer = |scene: &Scene| -> Result<u64> {
        let before = scene.transmitted("veth1")?;
        let (listen, target) = ((backend, 8080), (vip, 80));
        let address = |(address, port): (V4, u16)| SocketAddr::new(address.into(), port);
        tcp(&scene.pods[0], &scene.pods[1], address(listen), address(target), 1_000_000)?;
        Ok(scene.transmitted("veth1")? - before)
    };
    let slow = transfer(&scene)?;
    ensure!(slow > 1_000_000, "{slow} bytes went by the bridge without the fast path");
    let settings = Config { flags: Config::FAST_PATH, ..Config::default() };
    scene.set(settings)?;
    let fast = transfer(&scene)?;
    ensure!(fast < 10_000, "{fast} bytes went by the bridge with the fast path");
    Ok(())
}

#[test]
fn the_verifier_looks_at_few_instructions() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    for program in &scene.loaded.programs {
        // Kernels before 5.16 do not tell, and refuse at the same limit.
        let instructions = program.instructions.unwrap_or_default();
        println!("{:16} {instructions:7} verified instructions", program.name);
        assert!(instructions < 500_000, "{}: {instructions}", program.name);
    }
    Ok(())
}
