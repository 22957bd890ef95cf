//! Packets of all kinds, also broken ones.

use weir_datapath::common::{FlowKey, Port, protocol};

use super::dice::Dice;
use super::world::{Devices, IDS, SEQUENCES, World, any_key, local_pods};
use crate::family::Addresses;

const HOOKS: [&str; 7] =
    ["from_pod", "from_pod", "from_pod", "from_pod", "to_pod", "from_overlay", "from_overlay"];

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) hook: &'static str,
    pub(super) ifindex: u32,
    pub(super) gso_size: u32,
    pub(super) frame: Vec<u8>,
}

/// Which part of a datagram.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Whole,
    First,
    Later,
}

impl Sent {
    /// A packet that this world could see.
    pub(super) fn new<A: Addresses>(dice: &mut Dice, world: &World<A>, devices: Devices) -> Self {
        let hook = dice.pick(&HOOKS);
        let key = if world.flows.is_empty() || dice.chance(35) {
            any_key(dice)
        } else {
            let (key, flow) = dice.pick(&world.flows);
            match dice.below(10) {
                0 => key.reply(),
                1 => flow.reverse_key(&key),
                _ => key,
            }
        };
        let mut frame = frame(dice, &key);
        if dice.chance(4) {
            // The kernel runs programs for nothing shorter.
            let least = 14 + if A::BITS == 128 { 40 } else { 20 };
            frame.truncate(least + dice.below(frame.len() - least + 1));
        }
        let own = local_pods::<A>().iter().position(|pod| *pod == key.source);
        let ifindex = match (hook, own) {
            ("from_overlay", _) => devices.tunnel,
            ("from_pod", Some(pod)) if dice.chance(90) => devices.pods[pod],
            _ => dice.pick(&devices.pods),
        };
        Self { hook, ifindex, gso_size: dice.pick(&[0, 0, 0, 0, 0, 40, 120, 1300]), frame }
    }
}

fn frame<A: Addresses>(dice: &mut Dice, key: &FlowKey<A>) -> Vec<u8> {
    let part = match dice.below(100) {
        0..5 => Part::First,
        5..10 => Part::Later,
        _ => Part::Whole,
    };
    let (number, payload) = match dice.below(100) {
        0..8 => (icmp::<A>(), icmp_error(dice, key)),
        8 => (dice.byte(), (0..40).map(|_| dice.byte()).collect()),
        _ => (key.protocol, segment(dice, key)),
    };
    let mut frame: Vec<u8> = (0..12).map(|_| dice.byte() & 0xfe).collect();
    if A::BITS == 128 {
        frame.extend([0x86, 0xdd]);
        frame.extend(ipv6(dice, key, part, (number, &payload)));
    } else {
        frame.extend([0x08, 0x00]);
        frame.extend(ipv4(dice, key, part, (number, &payload)));
    }
    if dice.chance(1) {
        frame[14] ^= dice.byte();
    }
    frame
}

const fn icmp<A: Addresses>() -> u8 {
    if A::BITS == 128 { 58 } else { 1 }
}

fn bytes<A: Addresses>(address: A) -> Vec<u8> {
    let words = address.words().map(u32::to_ne_bytes).concat();
    words[..usize::try_from(A::BITS / 8).expect("small")].to_vec()
}

fn port(port: Port) -> [u8; 2] {
    port.get().to_be_bytes()
}

/// TCP, UDP or SCTP with its payload.
fn segment<A: Addresses>(dice: &mut Dice, key: &FlowKey<A>) -> Vec<u8> {
    let mut bytes = [port(key.source_port), port(key.destination_port)].concat();
    let size = dice.pick(&[0, 0, 8, 30, 200]);
    let checksum = match key.protocol {
        protocol::TCP => {
            let flags = match dice.below(12) {
                0..4 => SYN,
                4 => SYN | ACK,
                5..8 => ACK,
                8 => ACK | 0x01,
                9 => 0x04,
                10 => ACK | 0x04,
                _ => dice.byte(),
            };
            bytes.extend(dice.pick(&SEQUENCES).to_be_bytes());
            bytes.extend([0, 0, 0, 9, if dice.chance(80) { 0x50 } else { 0x80 }, flags, 1, 0]);
            bytes.extend([0; 4]);
            if bytes[12] == 0x80 {
                bytes.extend([1; 12]);
            }
            Some(16)
        }
        protocol::UDP => {
            let length = u16::try_from(8 + size).expect("small");
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 2]);
            (!dice.chance(20)).then_some(6)
        }
        _ => {
            bytes.extend([9; 8]);
            None
        }
    };
    bytes.extend((0..size).map(|_| dice.byte()));
    if let Some(offset) = checksum {
        let pseudo = [self::bytes(key.source), self::bytes(key.destination)].concat();
        let length = u32::try_from(bytes.len()).expect("small").to_be_bytes();
        let all = [&*pseudo, &length, &[0, 0, 0, key.protocol], &bytes].concat();
        bytes[offset..offset + 2].copy_from_slice(&sum(&all).to_be_bytes());
    }
    bytes
}

/// An ICMP message, most often an error about a packet with this key or its reply.
fn icmp_error<A: Addresses>(dice: &mut Dice, key: &FlowKey<A>) -> Vec<u8> {
    let kinds: &[u8] = if A::BITS == 128 { &[1, 2, 3, 128] } else { &[3, 3, 11, 8] };
    let mut bytes = vec![dice.pick(kinds), dice.byte() & 3, 0, 0, 0, 0, 0, 0];
    let quoted = if dice.chance(85) { key.reply() } else { *key };
    let segment = segment(dice, &quoted);
    let part = if dice.chance(90) { Part::Whole } else { Part::Later };
    bytes.extend(if A::BITS == 128 {
        ipv6(dice, &quoted, part, (quoted.protocol, &segment))
    } else {
        ipv4(dice, &quoted, part, (quoted.protocol, &segment))
    });
    let checksum = sum(&bytes).to_be_bytes();
    bytes[2..4].copy_from_slice(&checksum);
    bytes
}

fn ipv4<A: Addresses>(
    dice: &mut Dice,
    key: &FlowKey<A>,
    part: Part,
    (number, payload): (u8, &[u8]),
) -> Vec<u8> {
    let options = if dice.chance(6) { 4 * (1 + dice.below(3)) } else { 0 };
    let header = u8::try_from(20 + options).expect("small");
    let length = u16::try_from(usize::from(header) + payload.len()).expect("small");
    let field: u16 = match part {
        Part::Whole => dice.pick(&[0, 0x4000]),
        Part::First => 0x2000,
        Part::Later => dice.pick(&[0x0010, 0x2010]),
    };
    let id = dice.pick(&IDS).to_ne_bytes();
    let mut bytes = vec![0x40 | (header / 4), 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([id[0], id[1]]);
    bytes.extend(field.to_be_bytes());
    bytes.extend([64, number, 0, 0]);
    bytes.extend(self::bytes(key.source));
    bytes.extend(self::bytes(key.destination));
    bytes.extend(vec![1; options]);
    let checksum = sum(&bytes).to_be_bytes();
    bytes[10..12].copy_from_slice(&checksum);
    bytes.extend(payload);
    bytes
}

fn ipv6<A: Addresses>(
    dice: &mut Dice,
    key: &FlowKey<A>,
    part: Part,
    (number, payload): (u8, &[u8]),
) -> Vec<u8> {
    let mut next = number;
    let mut extensions = Vec::new();
    if part != Part::Whole || dice.chance(2) {
        let id = dice.pick(&IDS).to_ne_bytes();
        let field: u16 = match part {
            Part::Whole => 0,
            Part::First => 1,
            Part::Later => dice.pick(&[8, 9]),
        };
        let [high, low] = field.to_be_bytes();
        extensions = [[next, 0, high, low], id].concat();
        next = 44;
    }
    if dice.chance(6) {
        for _ in 0..=dice.below(6) {
            extensions = [&[next, 0, 1, 4, 0, 0, 0, 0], &*extensions].concat();
            next = dice.pick(&[0, 43, 60]);
        }
    }
    let length = u16::try_from(extensions.len() + payload.len()).expect("small").to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    bytes.extend(self::bytes(key.source));
    bytes.extend(self::bytes(key.destination));
    bytes.extend(extensions);
    bytes.extend(payload);
    bytes
}

/// The Internet checksum.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("16 bits")
}
