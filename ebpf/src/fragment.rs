//! Ports of fragments: only the first has them, the later ones look them up.

use weir_ebpf_common::header::Part;
use weir_ebpf_common::{Fragment, FragmentKey, Hook};

use crate::family::Family;
use crate::maps;
use crate::packet::Packet;

/// Remembers the ports of a first fragment for the later ones.
#[inline(always)]
pub(crate) fn remember_ports<A: Family>(packet: &Packet<A>, hook: Hook) {
    if packet.part == Part::First {
        let (source_port, destination_port) = (packet.key.source_port, packet.key.destination_port);
        maps::add_fragment(&key(packet, hook), Fragment { source_port, destination_port });
    }
}

/// Gives a later fragment the ports of the first; tells whether it has ports now.
#[inline(always)]
pub(crate) fn recall_ports<A: Family>(packet: &mut Packet<A>, hook: Hook) -> bool {
    if packet.part != Part::Later {
        return true;
    }
    let Some(ports) = maps::fragment(&key(packet, hook)) else { return false };
    packet.key.source_port = ports.source_port;
    packet.key.destination_port = ports.destination_port;
    true
}

#[inline(always)]
fn key<A: Family>(packet: &Packet<A>, hook: Hook) -> FragmentKey<A> {
    FragmentKey {
        source: packet.key.source,
        destination: packet.key.destination,
        id: packet.fragment,
        protocol: packet.key.protocol,
        hook: hook as u8,
        reserved: [0; 2],
    }
}
