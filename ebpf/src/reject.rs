//! The rejection of a packet that would open a flow.
//!
//! A client is told at once, and in a way that it believes: TCP by a reset, because an ICMP error
//! that comes while `connect` still holds its socket is ignored; everything else by an ICMP error
//! from the Service's address.

#![expect(clippy::cast_possible_truncation, reason = "lengths of headers are small")]

use weir_ebpf_common::header::{ETHERNET, Part, TcpFlags};
use weir_ebpf_common::reject::{self, RejectedTcp};
use weir_ebpf_common::{Reason, protocol};

use crate::packet::Packet;
use crate::scratch::HasScratch;
use crate::skb::{HelperFailed, Skb};
use crate::verdict::Verdict;
use crate::{maps, report};

/// What an ICMP error quotes of the rejected packet beyond its IP header.
const QUOTED: u32 = 8;
const TCP: u32 = 20;

/// Turns the packet into its own rejection, back into the pod.
#[inline(always)]
pub(crate) fn reject<A: HasScratch>(
    skb: Skb,
    packet: &Packet<A>,
    reason: Reason,
) -> Result<Verdict, Reason> {
    // Options are not copied, and what nobody waits for a reply to is dropped.
    let ordinary = packet.transport == ETHERNET + A::HEADER && packet.part != Part::Later;
    if !ordinary || packet.tcp.resets() {
        return Err(reason);
    }
    if !write(skb, packet) {
        return Err(Reason::DroppedRewrite);
    }
    maps::count(reason);
    report::note::<A>(reason);
    skb.set_packet_host();
    Ok(Verdict::pod(skb.ifindex()))
}

#[inline(never)]
fn write<A: HasScratch>(skb: Skb, packet: &Packet<A>) -> bool {
    let result = if packet.key.protocol == protocol::TCP {
        reset(skb, packet)
    } else {
        unreachable(skb, packet)
    };
    result.and_then(|()| swap_mac_addresses(skb)).is_ok()
}

#[inline(always)]
fn reset<A: HasScratch>(skb: Skb, packet: &Packet<A>) -> Result<(), HelperFailed> {
    let words: [u32; 4] = skb.load(packet.transport)?;
    let rejected = RejectedTcp {
        ports: words[0],
        sequence: words[1],
        acknowledged: words[2],
        flags: TcpFlags::of(words[3]),
    };
    skb.cut(packet.transport + TCP)?;
    let (source, destination) = (&packet.key.destination, &packet.key.source);
    A::store_header(skb, source, destination, protocol::TCP, TCP as u16)?;
    skb.store(packet.transport, &reject::reset(source, destination, rejected))
}

#[inline(always)]
fn unreachable<A: HasScratch>(skb: Skb, packet: &Packet<A>) -> Result<(), HelperFailed> {
    // The kernel cuts no packet within the checksum that it still has to fill in.
    skb.cut(packet.transport + QUOTED)?;
    let (source, destination) = (&packet.key.destination, &packet.key.source);
    let error = A::unreachable(skb, source, destination)?;
    skb.make_room(A::HEADER + 8)?;
    A::store_header(skb, source, destination, A::ICMP, (8 + A::HEADER + QUOTED) as u16)?;
    skb.store(ETHERNET + A::HEADER, &error)
}

#[inline(always)]
fn swap_mac_addresses(skb: Skb) -> Result<(), HelperFailed> {
    let [a, b, c, d, e, f]: [u16; 6] = skb.load(0)?;
    skb.store(0, &[d, e, f, a, b, c])
}
