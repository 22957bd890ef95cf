//! The flow table: which backend a flow of packets was given.
//!
//! A flow has two entries. The forward one is found by what the client sends and says where it
//! goes; the reverse one is found by what the backend sends and says what the client must see.
//! Each holds all that is needed to find the other. Both are added together and removed together.
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
    /// TCP: the sequence number of the SYN that opened the connection, as it lies in the packet.
    /// Datagrams: when the flow was opened, in seconds as `last_seen`.
    pub opening: u32,
    /// When a packet of this direction was last seen, in seconds of the kernel's monotonic clock; up
    /// to some seconds late for TCP.
    pub last_seen: u32,
    /// The index of the device that packets of this direction come in by, if that is a pod's; else 0.
    pub ifindex: u32,
    /// The low bits of the kernel's tick (see the programs) in which `last_seen` was last written.
    pub last_seen_tick: u16,
    /// A set of the constants below.
    pub flags: u16,
}

impl<A> Flow<A> {
    /// The client has closed its side, or the connection was reset. Both entries have it.
    pub const CLIENT_CLOSED: u16 = 1 << 0;
    /// The backend has closed its side, or the connection was reset. Both entries have it.
    pub const BACKEND_CLOSED: u16 = 1 << 1;
    /// Its packets to the backend are masqueraded.
    pub const MASQUERADED: u16 = 1 << 2;
    /// It is the reverse entry.
    pub const REVERSE: u16 = 1 << 3;
    /// Both ends are pods, and the client is at the device that it was opened from: its packets may
    /// bypass the stack.
    pub const FAST: u16 = 1 << 4;
    /// The backend has replied. Both entries have it.
    pub const ANSWERED: u16 = 1 << 5;
    /// The forward entry: the client has gone on after a reply. TCP: with any segment after the
    /// SYN. Datagrams: [`STREAM_AFTER`] seconds or more after the first.
    pub const ESTABLISHED: u16 = 1 << 6;
    /// The forward entry: session affinity is noted when the flow is established, and not before,
    /// because the client's address may be forged.
    pub const NOTE_AFFINITY: u16 = 1 << 7;
    /// A client outside has reset the connection, or somebody in its name: the numbers in a reset are not
    /// checked. Until one of the sides goes on it counts as closed. Both entries have it.
    pub const RESET: u16 = 1 << 8;
    /// Both sides have closed the connection.
    pub const CLOSED: u16 = Self::CLIENT_CLOSED | Self::BACKEND_CLOSED;

    /// Which entry it is.
    #[inline(always)]
    #[must_use]
    pub const fn is_reverse(&self) -> bool {
        self.flags & Self::REVERSE != 0
    }

    /// Whether both sides have closed the connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.flags & Self::CLOSED == Self::CLOSED
    }

    /// Whether both sides have closed the connection, and have not only been said to.
    #[inline(always)]
    #[must_use]
    pub const fn has_closed(&self) -> bool {
        self.flags & (Self::CLOSED | Self::RESET) == Self::CLOSED
    }

    /// Forward: whether somebody would miss it: both sides have spoken, and not closed it. The table
    /// forgets others when new flows need their room.
    #[inline(always)]
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        self.flags & Self::ESTABLISHED != 0 && !self.is_closed()
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

    /// Writes the key of the other entry of the flow that has this entry at `key`, in either direction,
    /// into memory that the caller has: the programs have little stack.
    #[inline(always)]
    pub fn write_peer_key(&self, key: &FlowKey<A>, peer: &mut FlowKey<A>) {
        peer.protocol = key.protocol;
        peer.reserved = [0; 3];
        if self.is_reverse() {
            peer.source = key.destination;
            peer.destination = self.address;
            peer.source_port = self.nat_port;
            peer.destination_port = self.port;
        } else {
            peer.source = self.address;
            peer.destination = key.source;
            peer.source_port = self.port;
            peer.destination_port = self.nat_port;
        }
    }

    /// The other entry of the flow that has this entry at `key`, in either direction, but for its
    /// device.
    #[inline(always)]
    #[must_use]
    pub fn peer_entry(&self, key: &FlowKey<A>) -> Self {
        let (address, port, nat_port) = if self.is_reverse() {
            (key.source, key.source_port, key.destination_port)
        } else {
            (key.destination, key.destination_port, key.source_port)
        };
        Self { address, port, nat_port, ifindex: 0, flags: self.flags ^ Self::REVERSE, ..*self }
    }
}

/// So many seconds after its first datagram a flow that has replies is a stream, as conntrack takes
/// it (`nf_conntrack_proto_udp.c`).
pub const STREAM_AFTER: u32 = 2;

/// How long flows are kept without a packet in either direction, in seconds. Most are conntrack's.
pub mod timeout {
    /// TCP: established. kube-proxy sets the same (`conntrack.tcpEstablishedTimeout`).
    pub const ESTABLISHED: u32 = 86_400;
    /// TCP: one side has closed it. kube-proxy sets the same (`conntrack.tcpCloseWaitTimeout`).
    pub const HALF_CLOSED: u32 = 3_600;
    /// TCP: not established.
    pub const OPENING: u32 = 60;
    /// TCP: both sides have closed it. Late retransmissions still find it.
    pub const CLOSED: u32 = 5;
    /// TCP: a peer that keeps connections alive as Linux does by default has been heard, or has given
    /// up (`tcp_keepalive_time` and nine probes). A SYN then opens a new connection.
    pub const DEAD_PEER: u32 = 7_875;
    /// TCP: how long a client that has closed its side waits for the other (`tcp_fin_timeout`).
    pub const FIN_WAIT: u32 = 60;
    /// Datagrams: no stream yet.
    pub const UNREPLIED: u32 = 30;
    /// Datagrams: a stream.
    pub const STREAM: u32 = 120;
}

impl<A: Address> Flow<A> {
    /// For how many seconds without a packet in either direction the flow with this forward entry is
    /// kept. `stream` is how long a stream of datagrams is, at most; 0 is for ever.
    #[inline(always)]
    #[must_use]
    pub const fn lifetime(&self, is_tcp: bool, stream: u32) -> u32 {
        let lasts = self.flags & Self::ESTABLISHED != 0;
        if !is_tcp {
            return if stream == 0 {
                u32::MAX
            } else if lasts || stream < timeout::UNREPLIED {
                stream
            } else {
                timeout::UNREPLIED
            };
        }
        if lasts && self.flags & Self::RESET != 0 {
            timeout::HALF_CLOSED
        } else if self.is_closed() {
            timeout::CLOSED
        } else if !lasts {
            timeout::OPENING
        } else if self.flags & Self::CLOSED != 0 {
            timeout::HALF_CLOSED
        } else {
            timeout::ESTABLISHED
        }
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
unpadded!(Flow<crate::V4>: crate::V4, Port, Port, u32, u32, u32, u32, u32, u16, u16);
unpadded!(Flow<crate::V6>: crate::V6, Port, Port, u32, u32, u32, u32, u32, u16, u16);

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
            opening: 1,
            last_seen: 9,
            ifindex: 0,
            last_seen_tick: 4,
            flags: Flow::<V4>::MASQUERADED,
        };
        (key, flow)
    }

    #[test]
    fn either_entry_of_a_flow_leads_to_the_other() {
        let (key, flow) = forward();
        let (reverse_key, reverse) = (flow.reverse_key(&key), flow.peer_entry(&key));
        assert_eq!(reverse.forward_key(&reverse_key), key);
        assert_eq!(reverse.peer_entry(&reverse_key), flow);
        for (flow, key, peer_key) in [(flow, key, reverse_key), (reverse, reverse_key, key)] {
            let mut written = FlowKey::default();
            flow.write_peer_key(&key, &mut written);
            assert_eq!(written, peer_key);
        }
    }

    #[test]
    fn a_flow_is_kept_as_long_as_its_state_deserves() {
        let (_, flow) = forward();
        let with = |flags| Flow { flags, ..flow };
        type F = Flow<V4>;
        let states = [
            (0, timeout::OPENING),
            (F::ANSWERED, timeout::OPENING),
            (F::ANSWERED | F::ESTABLISHED, timeout::ESTABLISHED),
            (F::ANSWERED | F::ESTABLISHED | F::CLIENT_CLOSED, timeout::HALF_CLOSED),
            (F::ANSWERED | F::ESTABLISHED | F::CLOSED, timeout::CLOSED),
            (F::CLOSED, timeout::CLOSED),
            (F::ANSWERED | F::ESTABLISHED | F::CLOSED | F::RESET, timeout::HALF_CLOSED),
            (F::CLOSED | F::RESET, timeout::CLOSED),
        ];
        for (flags, seconds) in states {
            assert_eq!(with(flags).lifetime(true, 120), seconds, "TCP, {flags:#b}");
        }
        assert_eq!(with(F::ANSWERED).lifetime(false, 120), 30);
        assert_eq!(with(F::ANSWERED | F::ESTABLISHED).lifetime(false, 120), 120);
        assert_eq!(with(0).lifetime(false, 10), 10, "never longer than a stream");
        assert_eq!(with(0).lifetime(false, 0), u32::MAX);
    }

    #[test]
    fn only_what_both_sides_have_spoken_in_and_not_closed_lasts() {
        let (_, flow) = forward();
        let lasts = |flags| Flow { flags, ..flow }.is_lasting();
        type F = Flow<V4>;
        assert!(!lasts(F::ANSWERED) && !lasts(F::ESTABLISHED | F::CLOSED));
        assert!(lasts(F::ESTABLISHED) && lasts(F::ESTABLISHED | F::CLIENT_CLOSED));
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
