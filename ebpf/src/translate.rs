//! The writing of addresses and ports.

use weir_ebpf_common::header::Part;
use weir_ebpf_common::{Flow, Port};

use crate::family::{Covering, Family};
use crate::packet::Packet;
use crate::skb::{Checksum, Refused, Skb};

/// Sends a client's packet to its backend.
#[inline(never)]
pub(crate) fn to_backend<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<(), Refused> {
    let key = &packet.key;
    A::replace(skb, A::DESTINATION, (&key.destination, &flow.address), packet.covering())?;
    destination_port(skb, packet, flow.port)?;
    source_port(skb, packet, flow.client_port)
}

/// Makes a backend's packet come from the Service.
#[inline(never)]
pub(crate) fn to_client<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<(), Refused> {
    A::replace(skb, A::SOURCE, (&packet.key.source, &flow.address), packet.covering())?;
    source_port(skb, packet, flow.port)?;
    destination_port(skb, packet, flow.client_port)
}

#[inline(always)]
fn source_port<A: Family>(skb: Skb, packet: &Packet<A>, new: Port) -> Result<(), Refused> {
    port(skb, packet, packet.transport, packet.key.source_port, new)
}

#[inline(always)]
fn destination_port<A: Family>(skb: Skb, packet: &Packet<A>, new: Port) -> Result<(), Refused> {
    port(skb, packet, packet.transport + 2, packet.key.destination_port, new)
}

#[inline(always)]
fn port<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    offset: u32,
    old: Port,
    new: Port,
) -> Result<(), Refused> {
    if old == new || packet.part == Part::Later {
        return Ok(());
    }
    if let Some(covering) = packet.covering() {
        correct_port(skb, covering, old, new)?;
    }
    skb.store(offset, &new)
}

/// Corrects the checksum of TCP or UDP for a changed port.
#[inline(always)]
pub(crate) fn correct_port(
    skb: Skb,
    covering: Covering,
    old: Port,
    new: Port,
) -> Result<(), Refused> {
    if old == new {
        return Ok(());
    }
    let change = (old.raw().into(), new.raw().into(), 2);
    skb.correct(covering.offset, change, Checksum::Plain, covering.optional)
}
