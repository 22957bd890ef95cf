//! Packets about which the inline view and the full one once decided differently.

use anyhow::Result;
use etherparse::PacketBuilder;
use weir_datapath::common::{Config, Flow, FlowKey, Port, Route, RouteKind, V4, protocol};
use weir_datapath::maps::{Family, Routes};
use weir_datapath::{Action, Hook, Program, Trial};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;

fn scene() -> Result<Scene> {
    let scene = Scene::with_pods(2)?;
    scene.set(Config { flags: Config::FAST_PATH, ..Config::default() })?;
    Ok(scene)
}

/// A datagram from port 53 of a backend to a client's port, with an IP option or without.
fn reply(backend: V4, client: V4, options: &[u8]) -> Result<Vec<u8>> {
    let mut ip = etherparse::Ipv4Header::new(
        16,
        64,
        etherparse::IpNumber::UDP,
        backend.bytes(),
        client.bytes(),
    )?;
    ip.options = etherparse::Ipv4Options::try_from(options)?;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()))
        .udp(53, 4000)
        .write(&mut frame, &[0; 8])?;
    Ok(frame)
}

/// The reverse entry of a flow of pod 0 to a backend.
fn store_flow(scene: &Scene, backend: V4, flags: u16) -> Result<()> {
    let key = FlowKey {
        source: backend,
        destination: V4::pod(0),
        source_port: Port::new(53),
        destination_port: Port::new(4000),
        protocol: protocol::UDP,
        reserved: [0; 3],
    };
    let flow = Flow {
        address: V4::service(10),
        port: Port::new(53),
        nat_port: Port::new(4000),
        flags: flags | Flow::<V4>::REVERSE,
        ..Flow::default()
    };
    scene.table::<FlowKey<V4>, Flow<V4>>(V4::FLOWS_DGRAM)?.set(&key, &flow)?;
    Ok(())
}

fn run(scene: &Scene, hook: Hook, frame: &[u8], device: &str) -> Result<Trial> {
    let ifindex = scene.ifindex(device)?;
    scene.node.run(|| Ok(Program::open(&scene.pins, hook)?.try_packet(frame, ifindex)?))
}

/// With an IP option only the full view shows the packet.
const SHOWN_BY: [&[u8]; 2] = [&[], &[1, 1, 1, 1]];

#[test]
fn a_reply_of_a_pod_goes_by_the_stack_if_its_flow_was_opened_there() -> Result<()> {
    let scene = scene()?;
    store_flow(&scene, V4::pod(1), 0)?;
    for options in SHOWN_BY {
        let frame = reply(V4::pod(1), V4::pod(0), options)?;
        let trial = run(&scene, Hook::FromPod, &frame, "veth1")?;
        assert_eq!((trial.action, trial.packet), (Action::Stack, frame), "{options:?}");
    }
    Ok(())
}

#[test]
fn a_reply_of_another_node_goes_by_the_stack_if_its_flow_was_opened_there() -> Result<()> {
    let scene = scene()?;
    let kind = RouteKind::RemotePods as u32;
    let route = Route { kind, ifindex: 0, mtu: 1450, next_hop: V4::bridge() };
    let network = V4::new([10, 244, 2, 0]);
    scene.node.run(|| Ok(Routes::<V4>::open(&scene.pins)?.set(network, 24, &route)?))?;
    store_flow(&scene, V4::pod(100), 0)?;
    for options in SHOWN_BY {
        let frame = reply(V4::pod(100), V4::pod(0), options)?;
        let trial = run(&scene, Hook::FromOverlay, &frame, "weir0")?;
        assert_eq!((trial.action, trial.packet), (Action::Stack, frame), "{options:?}");
    }
    Ok(())
}

#[test]
fn a_reply_of_a_known_flow_is_translated_although_its_ports_have_a_flow_the_other_way() -> Result<()>
{
    let scene = scene()?;
    store_flow(&scene, V4::pod(1), Flow::<V4>::FAST)?;
    // Pod 1 is a client of pod 0 too, by the same ports and another Service.
    let key = FlowKey {
        source: V4::pod(0),
        destination: V4::pod(1),
        source_port: Port::new(4000),
        destination_port: Port::new(53),
        protocol: protocol::UDP,
        reserved: [0; 3],
    };
    let flow = Flow {
        address: V4::service(11),
        port: Port::new(4000),
        nat_port: Port::new(53),
        flags: Flow::<V4>::FAST | Flow::<V4>::REVERSE,
        ..Flow::default()
    };
    scene.table::<FlowKey<V4>, Flow<V4>>(V4::FLOWS_DGRAM)?.set(&key, &flow)?;
    for options in SHOWN_BY {
        let frame = reply(V4::pod(1), V4::pod(0), options)?;
        let trial = run(&scene, Hook::FromPod, &frame, "veth1")?;
        assert_eq!(trial.action, Action::Redirect, "{options:?}");
        assert_eq!(trial.packet[26..30], V4::service(10).bytes(), "{options:?}");
    }
    Ok(())
}
