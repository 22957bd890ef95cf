//! Frames of pods, made by hand.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, ether_type};
use rustix::thread::{CpuSet, sched_setaffinity};
use weir_datapath::common::{Address, Mac};
use weir_datapath::{Action, Hook, Program, Trial};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;

/// The MAC address of a pod of the first node.
pub(crate) const fn mac(pod: u8) -> Mac {
    Mac([0x0a, 0x58, 10, 244, 1, 10 + pod])
}

fn ip<A: Addresses>(from: A, to: A, sender: Mac) -> PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(sender.0, [0x0a, 0x58, 10, 244, 1, 1]);
    match (from.into(), to.into()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 255),
        _ => unreachable!("both are of one family"),
    }
}

/// A segment with these flags: `S` and `A`, `F` or `R`.
pub(crate) fn tcp<A: Addresses>(
    (from, from_port): (A, u16),
    (to, to_port): (A, u16),
    (sequence, flags): (u32, &str),
) -> Result<Vec<u8>> {
    let mut step = ip(from, to, mac(0)).tcp(from_port, to_port, sequence, 1000);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'F' => step.fin(),
            'R' => step.rst(),
            _ => step.ack(1),
        };
    }
    let mut frame = Vec::new();
    step.write(&mut frame, &[])?;
    Ok(frame)
}

/// A datagram.
pub(crate) fn udp<A: Addresses>(
    (from, from_port): (A, u16),
    (to, to_port): (A, u16),
) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    ip(from, to, mac(0)).udp(from_port, to_port).write(&mut frame, b"data")?;
    Ok(frame)
}

/// An ICMP message of this type, whose body follows the checksum.
pub(crate) fn icmp<A: Addresses>(from: A, to: A, kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let mut frame = Vec::new();
    let number = if A::BITS == 128 { 58 } else { 1 };
    ip(from, to, mac(0)).write(&mut frame, number.into(), &message)?;
    Ok(frame)
}

/// An ARP message: a request or a reply.
pub(crate) fn arp(is_reply: bool, sender: (Mac, [u8; 4]), ethernet: Mac) -> Vec<u8> {
    let mut frame = [[0xff; 6], ethernet.0].concat();
    frame.extend(ether_type::ARP.0.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1 + u8::from(is_reply)]);
    frame.extend(sender.0.0);
    frame.extend(sender.1);
    frame.extend([0; 6]);
    frame.extend([10, 244, 1, 1]);
    frame
}

/// What becomes of a frame that a pod sends.
pub(crate) fn from_pod(scene: &Scene, pod: u8, frame: &[u8]) -> Result<Trial> {
    at(scene, Hook::FromPod, &format!("veth{pod}"), frame)
}

/// What becomes of a frame at a hook of a device.
pub(crate) fn at(scene: &Scene, hook: Hook, device: &str, frame: &[u8]) -> Result<Trial> {
    let ifindex = scene.ifindex(device)?;
    scene.node.run(|| Ok(Program::open(&scene.pins, hook)?.try_packet(frame, ifindex)?))
}

/// Lets everything that this thread does from now on run on one of the machine's CPUs. The programs have
/// memory of each CPU.
pub(crate) fn on_cpu(number: usize) -> Result<()> {
    let online = aya::util::online_cpus().map_err(|(file, error)| error_of(file, &error))?;
    let cpu = online.get(number % online.len()).context("no CPU")?;
    let mut set = CpuSet::new();
    set.set(usize::try_from(*cpu)?);
    Ok(sched_setaffinity(None, &set)?)
}

fn error_of(file: &str, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("read {file}: {error}")
}

/// A frame at a hook of a device.
pub(crate) type Step = (Hook, &'static str, Vec<u8>);

/// Many frames, one after the other, each of which must go on.
pub(crate) fn all(scene: &Scene, steps: impl Iterator<Item = Result<Step>> + Send) -> Result<()> {
    let dropped = dropped(scene, steps)?;
    ensure!(dropped == 0, "{dropped} frames were dropped");
    Ok(())
}

/// How many of many frames, one after the other, do not go on.
pub(crate) fn dropped(
    scene: &Scene,
    steps: impl Iterator<Item = Result<Step>> + Send,
) -> Result<usize> {
    let mut devices = HashMap::new();
    for device in ["veth0", "veth1"] {
        devices.insert(device, scene.ifindex(device)?);
    }
    scene.node.run(|| {
        let [from, to] = Hook::POD;
        let programs = [Program::open(&scene.pins, from)?, Program::open(&scene.pins, to)?];
        let mut dropped = 0;
        for step in steps {
            let (hook, device, frame) = step?;
            let program = programs.iter().find(|program| program.hook() == hook);
            let ifindex = devices.get(device).context("no such device")?;
            let trial = program.context("no such hook")?.try_packet(&frame, *ifindex)?;
            dropped += usize::from(!passes(&trial));
        }
        Ok(dropped)
    })
}

/// Whether it goes on, by the stack or past it.
pub(crate) fn passes(trial: &Trial) -> bool {
    matches!(trial.action, Action::Stack | Action::Redirect)
}

/// Where a packet goes.
pub(crate) fn destination(frame: &[u8]) -> Result<IpAddr> {
    match SlicedPacket::from_ethernet(frame)?.net.context("not IP")? {
        NetSlice::Ipv4(ip) => Ok(ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => Ok(ip.header().destination_addr().into()),
        NetSlice::Arp(_) => anyhow::bail!("ARP"),
    }
}

/// The bytes of an address.
pub(crate) fn bytes<A: Address>(address: A) -> Vec<u8> {
    let words = address.words().map(u32::to_ne_bytes).concat();
    words.into_iter().take(if A::BITS == 128 { 16 } else { 4 }).collect()
}
