//! ICMP errors about packets of a flow, which quote what somebody else has sent.
//!
//! An error is translated like an reply to the packet it quotes: its flow is found by the quoted
//! tuple the other way round. The quoted address and port become those that the receiver knows, and
//! so does the error's own if it is the flow's other end; a router's stays. A quoted checksum of TCP
//! or UDP stays too: nobody can check it, because most of the packet is not quoted.

use weir_ebpf_common::header::Part;
use weir_ebpf_common::{Direction, Flow, FlowKey, Port, Reason};

use crate::family::Family;
use crate::maps;
use crate::maps::flow_table;
use crate::packet::{Packet, has_ports};
use crate::skb::{Checksum, HelperFailed, Skb};

/// Length of the header before the quotation.
pub(crate) const HEADER: u32 = 8;

/// The quoted packet.
pub(crate) struct Quoted<A> {
    /// The key of its replies.
    key: FlowKey<A>,
    /// Where its IP header is.
    header: u32,
    /// Where its ports are.
    ports: u32,
}

/// Translates an error on its way to a backend (forward) or to a client (reverse). Tells whether it
/// was one about a flow, and which.
#[inline(never)]
pub(crate) fn nat_error<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    direction: Direction,
    (flow, quoted): (&mut Flow<A>, &mut Quoted<A>),
) -> Result<bool, Reason> {
    if packet.key.protocol != A::ICMP || packet.part != Part::Whole {
        return Ok(false);
    }
    let Ok(kind) = skb.load::<u8>(packet.transport) else { return Ok(false) };
    if !A::is_error(kind) {
        return Ok(false);
    }
    if !quoted.read(skb, packet) {
        return Ok(false);
    }
    let Some(entry) = flow_table::flows(&quoted.key).get(&quoted.key) else { return Ok(false) };
    *flow = entry.get();
    if flow.is_reverse() != (direction as u8 == Direction::Reverse as u8) {
        return Ok(false);
    }
    rewrite(skb, packet, quoted, flow).map_err(|_| Reason::DroppedRewrite)?;
    maps::count(Reason::IcmpTranslated);
    Ok(true)
}

impl<A: Family> Quoted<A> {
    /// Reads what an error quotes; false if it is not a packet that a flow can have.
    #[inline(never)]
    fn read(&mut self, skb: Skb, packet: &Packet<A>) -> bool {
        self.header = packet.transport + HEADER;
        let Some(ip) = A::header(skb, self.header) else { return false };
        if ip.part == Part::Later || !has_ports(ip.protocol) {
            return false;
        }
        self.ports = self.header + ip.header;
        let Ok(words) = skb.load::<u32>(self.ports) else { return false };
        let [a, b, c, d] = words.to_ne_bytes();
        self.key.source = ip.destination;
        self.key.destination = ip.source;
        self.key.source_port = Port::from_bytes([c, d]);
        self.key.destination_port = Port::from_bytes([a, b]);
        self.key.protocol = ip.protocol;
        self.key.reserved = [0; 3];
        true
    }
}

#[inline(never)]
fn rewrite<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    quoted: &Quoted<A>,
    flow: &Flow<A>,
) -> Result<(), HelperFailed> {
    let Quoted { key, header, ports } = quoted;
    let checksum = packet.transport + 2;
    if !flow.is_reverse() {
        // The client quotes what the Service has sent to it.
        A::replace_quoted(skb, *header, A::SOURCE, (&key.destination, &flow.address), checksum)?;
        port(skb, *ports, (key.destination_port, flow.port), checksum)?;
        port(skb, *ports + 2, (key.source_port, flow.nat_port), checksum)?;
        let outer = &packet.key.destination;
        return A::replace(skb, A::DESTINATION, (outer, &flow.address), A::icmp_checksum(checksum));
    }
    // The backend, or somebody before it, quotes what the client has sent to the backend.
    A::replace_quoted(skb, *header, A::DESTINATION, (&key.source, &flow.address), checksum)?;
    port(skb, *ports + 2, (key.source_port, flow.port), checksum)?;
    port(skb, *ports, (key.destination_port, flow.nat_port), checksum)?;
    if packet.key.source.is(&key.source) {
        let outer = &packet.key.source;
        A::replace(skb, A::SOURCE, (outer, &flow.address), A::icmp_checksum(checksum))?;
    }
    Ok(())
}

#[inline(always)]
fn port(
    skb: Skb,
    offset: u32,
    (old, new): (Port, Port),
    checksum: u32,
) -> Result<(), HelperFailed> {
    if old == new {
        return Ok(());
    }
    let change = (old.raw().into(), new.raw().into(), 2);
    skb.correct(checksum, change, Checksum::Plain, false)?;
    skb.store(offset, &new)
}
