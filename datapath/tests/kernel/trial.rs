//! A program tried on a packet that nobody sends.

use anyhow::Result;
use etherparse::PacketBuilder;
use weir_datapath::common::{Config, V4, protocol};
use weir_datapath::{Action, Hook, Program, Trial};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::{MASQUERADE, Scene};

fn syn(from_port: u16, to: V4) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4(V4::pod(0).bytes(), to.bytes(), 64)
        .tcp(from_port, 80, 7, 1000)
        .syn()
        .write(&mut frame, &[])?;
    Ok(frame)
}

fn of_pod(scene: &Scene, to: V4, device: &str) -> Result<Trial> {
    let ifindex = scene.ifindex(device)?;
    // A flow of each device: how a flow goes is decided when it is opened.
    let frame = syn(u16::try_from(4000 + ifindex)?, to)?;
    scene.node.run(|| Ok(Program::open(&scene.pins, Hook::FromPod)?.try_packet(&frame, ifindex)?))
}

#[test]
fn a_packet_is_tried_as_if_its_own_pod_sent_it() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    scene.set(Config { flags: Config::FAST_PATH, ..Config::default() })?;
    let vip = V4::service(10);
    scene.service((vip, 80, protocol::TCP), &[(V4::pod(1), 8080)])?;
    // Nobody else may send with its address.
    assert_eq!(of_pod(&scene, vip, "veth0")?.action, Action::Redirect);
    assert_eq!(of_pod(&scene, vip, "veth1")?.action, Action::Drop);
    Ok(())
}

#[test]
fn the_packet_and_its_mark_are_handed_back() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let vip = V4::service(10);
    scene.service((vip, 80, protocol::TCP), &[(V4::pod(0), 8080)])?;
    let trial = of_pod(&scene, vip, "veth0")?;
    assert_eq!((trial.action, trial.mark), (Action::Stack, MASQUERADE));
    assert_eq!(trial.packet[30..34], V4::pod(0).bytes());
    Ok(())
}

#[test]
fn a_device_that_is_not_there_is_an_error() -> Result<()> {
    let scene = Scene::with_pods(1)?;
    let frame = syn(4000, V4::pod(1))?;
    let program = scene.node.run(|| Ok(Program::open(&scene.pins, Hook::FromPod)?))?;
    let tried = scene.node.run(|| Ok(program.try_packet(&frame, 9999).is_err()))?;
    assert!(tried);
    Ok(())
}
