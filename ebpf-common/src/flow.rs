//! The flow table: which backend a flow of packets was given.
//!
//! A flow has two entries. The forward one is found by what the client sends and says where it
//! goes; the reverse one is found by what the backend sends and says what the client must see.
//! Each holds all that is needed to make the other anew, because the table forgets single entries.
//! Which of the two it is stands in the entry and not in its key, so that one look at the table
//! tells whether a packet needs anything.

use crate::unpadded::unpadded;
use crate::{Address, Port};

/// The packets that an entry is for, as they are before they are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FlowKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: Port,
    /// Destination port.
    pub destination_port: Port,
    /// The number of the IP protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: [u8; 3],
}

/// Which of two entries, here and of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the Service's address.
    Forward = 0,
    /// From the backend to the client.
    Reverse = 1,
}

/// How packets of a flow are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Flow<A> {
    /// Forward: the backend, the new destination. Reverse: the Service, the new source.
    pub address: A,
    /// The port that goes with `address`.
    pub port: Port,
    /// Forward: the source port that the backend sees. Reverse: the client's own port, the new
    /// destination port. They differ when two flows of a client would look the same to a backend.
    pub nat_port: Port,
    /// The backend's id.
    pub backend: u32,
    /// The Service's id.
    pub service: u32,
    /// Forward, TCP: the sequence number that opened the connection; a SYN with another one opens a
    /// new connection.
    pub syn_seq: u32,
    /// When a packet was last seen, in seconds of the kernel's monotonic clock; up to some seconds
    /// late for TCP.
    pub last_seen: u32,
    /// In which of the kernel's ticks (see the programs) the other entry was last looked for.
    pub last_checked_tick: u32,
    /// A set of the constants below.
    pub flags: u32,
}

impl<A> Flow<A> {
    /// The client has closed its side, or reset the connection.
    pub const CLIENT_CLOSED: u32 = 1 << 0;
    /// The backend has closed its side, or reset the connection.
    pub const BACKEND_CLOSED: u32 = 1 << 1;
    /// Its packets to the backend are masqueraded.
    pub const MASQUERADED: u32 = 1 << 2;
    /// It is the reverse entry.
    pub const REVERSE: u32 = 1 << 3;
    /// Both ends are pods, and the client is at the device that it was opened from: its packets may
    /// bypass the stack.
    pub const FAST: u32 = 1 << 4;

    /// Which entry it is.
    #[inline(always)]
    #[must_use]
    pub const fn is_reverse(&self) -> bool {
        self.flags & Self::REVERSE != 0
    }
}

impl<A: Address> FlowKey<A> {
    /// The same tuple the other way round: the key of the replies to packets that go untranslated.
    #[inline(always)]
    #[must_use]
    pub fn reply(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            reserved: [0; 3],
        }
    }
}

impl<A: Address> Flow<A> {
    /// The key of the reverse entry of the flow that has this forward entry at `key`.
    #[inline(always)]
    #[must_use]
    pub fn reverse_key(&self, key: &FlowKey<A>) -> FlowKey<A> {
        FlowKey {
            source: self.address,
            destination: key.source,
            source_port: self.port,
            destination_port: self.nat_port,
            protocol: key.protocol,
            reserved: [0; 3],
        }
    }

    /// The key of the forward entry of the flow that has this reverse entry at `key`.
    #[inline(always)]
    #[must_use]
    pub fn forward_key(&self, key: &FlowKey<A>) -> FlowKey<A> {
        FlowKey {
            source: key.destination,
            destination: self.address,
            source_port: self.nat_port,
            destination_port: self.port,
            protocol: key.protocol,
            reserved: [0; 3],
        }
    }

    /// The other entry of the flow that has this entry at `key`, in either direction.
    #[inline(always)]
    #[must_use]
    pub fn peer_entry(&self, key: &FlowKey<A>) -> Self {
        let (address, port, nat_port) = if self.is_reverse() {
            (key.source, key.source_port, key.destination_port)
        } else {
            (key.destination, key.destination_port, key.source_port)
        };
        Self { address, port, nat_port, flags: self.flags ^ Self::REVERSE, ..*self }
    }
}

/// A source port for a flow whose own is taken: one of those that no protocol is assigned to, which
/// the client itself may not choose either by default.
#[inline(always)]
#[must_use]
pub const fn ephemeral_port(random: u32) -> Port {
    // Linux gives its sockets 32768 to 60999.
    const FIRST: u32 = 61_000;
    const COUNT: u32 = 65_536 - FIRST;
    Port::new(((FIRST + crate::choose_slot(random, COUNT)) & 0xffff) as u16)
}

unpadded!(FlowKey<crate::V4>: crate::V4, crate::V4, Port, Port, u8, [u8; 3]);
unpadded!(FlowKey<crate::V6>: crate::V6, crate::V6, Port, Port, u8, [u8; 3]);
unpadded!(Flow<crate::V4>: crate::V4, Port, Port, u32, u32, u32, u32, u32, u32);
unpadded!(Flow<crate::V6>: crate::V6, Port, Port, u32, u32, u32, u32, u32, u32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{V4, protocol};

    fn forward() -> (FlowKey<V4>, Flow<V4>) {
        let key = FlowKey {
            source: V4::new([10, 244, 1, 2]),
            destination: V4::new([10, 96, 0, 10]),
            source_port: Port::new(40_000),
            destination_port: Port::new(53),
            protocol: protocol::UDP,
            reserved: [0; 3],
        };
        let flow = Flow {
            address: V4::new([10, 244, 2, 7]),
            port: Port::new(5353),
            nat_port: Port::new(50_000),
            backend: 7,
            service: 3,
            syn_seq: 1,
            last_seen: 9,
            last_checked_tick: 4,
            flags: Flow::<V4>::MASQUERADED,
        };
        (key, flow)
    }

    #[test]
    fn either_entry_of_a_flow_restores_the_other() {
        let (key, flow) = forward();
        let (reverse_key, reverse) = (flow.reverse_key(&key), flow.peer_entry(&key));
        assert_eq!(reverse.forward_key(&reverse_key), key);
        assert_eq!(reverse.peer_entry(&reverse_key), flow);
    }

    #[test]
    fn a_reverse_entry_is_found_by_what_the_backend_sends() {
        let (key, flow) = forward();
        let reverse_key = flow.reverse_key(&key);
        assert_eq!((reverse_key.source, reverse_key.source_port), (flow.address, flow.port));
        assert_eq!(reverse_key.destination, key.source);
        assert_eq!(reverse_key.destination_port, Port::new(50_000), "the port that it knows");
    }

    #[test]
    fn another_source_port_is_none_that_sockets_get_by_themselves() {
        assert_eq!(ephemeral_port(0).get(), 61_000);
        assert_eq!(ephemeral_port(u32::MAX).get(), 65_535);
    }

    #[test]
    fn the_reply_to_a_direct_packet_has_the_key_of_a_reverse_entry() {
        let (key, flow) = forward();
        let direct = FlowKey {
            destination: flow.address,
            destination_port: flow.port,
            source_port: flow.nat_port,
            ..key
        };
        assert_eq!(direct.reply(), flow.reverse_key(&key));
    }
}
