//! Packets that no socket of this machine sends, handed to the real programs.

use anyhow::{Result, ensure};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, SlicedPacket};
use weir_datapath::common::{Reason, V4, protocol};
use weir_datapath::{Action, Hook, Program, Trial};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;

const SCTP: IpNumber = IpNumber(protocol::SCTP);

/// A datagram or fragment from pod 0.
fn packet(
    to: V4,
    protocol: IpNumber,
    (id, more, offset): (u16, bool, u16),
    payload: &[u8],
) -> Result<Vec<u8>> {
    let mut ip = Ipv4Header::new(
        u16::try_from(payload.len())?,
        64,
        protocol,
        V4::pod(0).bytes(),
        to.bytes(),
    )?;
    ip.identification = id;
    ip.more_fragments = more;
    ip.fragment_offset = IpFragOffset::try_new(offset)?;
    ip.header_checksum = ip.calc_header_checksum();
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    frame.extend(ip.to_bytes());
    frame.extend(payload);
    Ok(frame)
}

/// What becomes of a packet that pod 0 sends, and what it looks like then.
fn from_pod(scene: &Scene, frame: &[u8]) -> Result<(Action, Vec<u8>)> {
    let ifindex = scene.ifindex("veth0")?;
    scene.node.run(|| {
        let program = Program::open(&scene.pins, Hook::FromPod)?;
        let Trial { action, packet, .. } = program.try_packet(frame, ifindex)?;
        Ok((action, packet))
    })
}

fn destination(frame: &[u8]) -> Result<[u8; 4]> {
    let sliced = SlicedPacket::from_ethernet(frame)?;
    let Some(etherparse::NetSlice::Ipv4(ip)) = sliced.net else { anyhow::bail!("no IPv4") };
    let header = ip.header();
    ensure!(header.header_checksum() == header.to_header().calc_header_checksum(), "checksum");
    Ok(header.destination())
}

/// Ports as SCTP and UDP have them, then something.
fn segment(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([9; 28]);
    bytes
}

#[test]
fn a_later_fragment_goes_where_the_first_went() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 53)])?;
    let (verdict, first) =
        from_pod(&scene, &packet(vip, IpNumber::UDP, (7, true, 0), &segment(4000, 53))?)?;
    assert_eq!((verdict, destination(&first)?), (Action::Stack, backend.bytes()));
    let (verdict, later) = from_pod(&scene, &packet(vip, IpNumber::UDP, (7, false, 4), &[1; 40])?)?;
    assert_eq!((verdict, destination(&later)?), (Action::Stack, backend.bytes()));
    assert_eq!(later[34..], [1; 40], "only the address is changed");
    Ok(())
}

#[test]
fn a_later_fragment_without_the_first_is_dropped_if_it_is_for_a_service() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let vip = V4::service(10);
    scene.service((vip, 53, protocol::UDP), &[(V4::pod(1), 53)])?;
    let (verdict, _) = from_pod(&scene, &packet(vip, IpNumber::UDP, (8, false, 4), &[1; 40])?)?;
    assert_eq!(verdict, Action::Drop);
    let elsewhere = packet(V4::service(99), IpNumber::UDP, (8, false, 4), &[1; 40])?;
    assert_eq!(from_pod(&scene, &elsewhere)?, (Action::Stack, elsewhere));
    assert_eq!(scene.counted(Reason::DroppedFragment)?, 1);
    Ok(())
}

#[test]
fn sctp_is_translated_if_its_checksum_stays_right_and_else_dropped() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 3868, protocol::SCTP), &[(backend, 3868)])?;
    scene.service((vip, 3869, protocol::SCTP), &[(backend, 3868)])?;
    let sent = segment(4000, 3868);
    let (verdict, frame) = from_pod(&scene, &packet(vip, SCTP, (1, false, 0), &sent)?)?;
    assert_eq!((verdict, destination(&frame)?), (Action::Stack, backend.bytes()));
    assert_eq!(frame[34..], sent, "what the checksum covers is as it was");
    let other = packet(vip, SCTP, (2, false, 0), &segment(4000, 3869))?;
    assert_eq!(from_pod(&scene, &other)?.0, Action::Drop);
    assert_eq!(scene.counted(Reason::DroppedSctpPort)?, 1);
    Ok(())
}

#[test]
fn a_udp_checksum_is_corrected_and_none_stays_none() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4(V4::pod(0).bytes(), vip.bytes(), 64)
        .udp(4000, 53)
        .write(&mut frame, b"question")?;
    let (verdict, out) = from_pod(&scene, &frame)?;
    assert_eq!((verdict, destination(&out)?), (Action::Stack, backend.bytes()));
    let sliced = SlicedPacket::from_ethernet(&out)?;
    let Some(etherparse::TransportSlice::Udp(udp)) = sliced.transport else {
        anyhow::bail!("no UDP")
    };
    assert_eq!(udp.destination_port(), 5353);
    let expected =
        udp.to_header().calc_checksum_ipv4_raw(V4::pod(0).bytes(), backend.bytes(), b"question")?;
    assert_eq!(udp.checksum(), expected);

    frame[40..42].fill(0);
    let (_, out) = from_pod(&scene, &frame)?;
    assert_eq!(out[40..42], [0, 0]);
    Ok(())
}

#[test]
fn a_header_that_is_cut_off_is_dropped() -> Result<()> {
    let scene = Scene::with_pods(1)?;
    let frame = packet(V4::pod(1), IpNumber::TCP, (1, false, 0), &[0; 6])?;
    assert_eq!(from_pod(&scene, &frame)?.0, Action::Drop);
    assert_eq!(scene.counted(Reason::DroppedMalformed)?, 1);
    Ok(())
}
