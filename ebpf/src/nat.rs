//! DNAT and its reverse, by the kernel's helpers.

use weir_ebpf_common::header::Part;
use weir_ebpf_common::{Flow, Port};

use crate::family::{Family, L4Checksum};
use crate::packet::Packet;
use crate::skb::{Checksum, HelperFailed, Skb};

/// Sends a client's packet to its backend.
#[inline(never)]
pub(crate) fn dnat<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<(), HelperFailed> {
    let key = &packet.key;
    A::replace(skb, A::DESTINATION, (&key.destination, &flow.address), packet.l4_checksum())?;
    destination_port(skb, packet, flow.port)?;
    source_port(skb, packet, flow.nat_port)
}

/// Makes a backend's packet come from the Service.
#[inline(never)]
pub(crate) fn reverse_nat<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<(), HelperFailed> {
    A::replace(skb, A::SOURCE, (&packet.key.source, &flow.address), packet.l4_checksum())?;
    source_port(skb, packet, flow.port)?;
    destination_port(skb, packet, flow.nat_port)
}

#[inline(always)]
fn source_port<A: Family>(skb: Skb, packet: &Packet<A>, new: Port) -> Result<(), HelperFailed> {
    port(skb, packet, packet.transport, packet.key.source_port, new)
}

#[inline(always)]
fn destination_port<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    new: Port,
) -> Result<(), HelperFailed> {
    port(skb, packet, packet.transport + 2, packet.key.destination_port, new)
}

#[inline(always)]
fn port<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    offset: u32,
    old: Port,
    new: Port,
) -> Result<(), HelperFailed> {
    if old == new || packet.part == Part::Later {
        return Ok(());
    }
    if let Some(checksum) = packet.l4_checksum() {
        correct_port(skb, checksum, old, new)?;
    }
    skb.store(offset, &new)
}

/// Corrects the checksum of TCP or UDP for a changed port.
#[inline(always)]
pub(crate) fn correct_port(
    skb: Skb,
    checksum: L4Checksum,
    old: Port,
    new: Port,
) -> Result<(), HelperFailed> {
    if old == new {
        return Ok(());
    }
    let change = (old.raw().into(), new.raw().into(), 2);
    skb.correct(checksum.offset, change, Checksum::Plain, checksum.optional)
}
