//! What a packet's headers say.

use weir_ebpf_common::header::{self, ETHERNET, Part, TcpFlags};
use weir_ebpf_common::{FlowKey, Port, Reason, protocol};

use crate::family::{Family, L4Checksum};
use crate::skb::Skb;

/// So many extensions of an IPv6 header are skipped; the standard has each but one at most
/// once.
const EXTENSIONS: u32 = 5;

/// It is filled in place: a copy would not fit on the stack.
pub(crate) struct Packet<A> {
    /// Addresses and ports.
    pub(crate) key: FlowKey<A>,
    /// Where the header of TCP, UDP or SCTP begins.
    pub(crate) transport: u32,
    pub(crate) part: Part,
    /// What fragments of the datagram share.
    pub(crate) fragment: u32,
    pub(crate) tcp: TcpFlags,
    /// The sequence number of TCP.
    pub(crate) sequence: u32,
    /// Length of the header of TCP or UDP.
    pub(crate) transport_header: u32,
    /// What is to be logged of it, see [`crate::report`].
    pub(crate) noted: u32,
}

impl<A: Family> Packet<A> {
    /// Reads the headers; false if it is not an IP packet.
    #[inline(never)]
    pub(crate) fn read(&mut self, skb: Skb) -> Result<bool, Reason> {
        let Some(ip) = A::header(skb, ETHERNET) else { return Ok(false) };
        self.key.source = ip.source;
        self.key.destination = ip.destination;
        self.key.protocol = ip.protocol;
        self.key.reserved = [0; 3];
        self.key.source_port = Port::ANY;
        self.key.destination_port = Port::ANY;
        self.tcp = TcpFlags::default();
        self.sequence = 0;
        self.noted = 0;
        self.transport_header = 8;
        self.transport = ETHERNET + ip.header;
        self.part = ip.part;
        self.fragment = ip.fragment;
        if A::BITS == 128 {
            self.skip_extensions(skb)?;
        }
        if self.part != Part::Later {
            self.read_ports(skb)?;
        }
        Ok(true)
    }

    #[inline(always)]
    fn skip_extensions(&mut self, skb: Skb) -> Result<(), Reason> {
        for _ in 0..EXTENSIONS {
            if !header::is_extension(self.key.protocol) {
                return Ok(());
            }
            let words =
                skb.load::<[u32; 2]>(self.transport).map_err(|_| Reason::DroppedMalformed)?;
            let extension = header::extension(self.key.protocol, &words);
            self.key.protocol = extension.next;
            self.transport += extension.length;
            if let Some((part, id)) = extension.fragment {
                (self.part, self.fragment) = (part, id);
                if part == Part::Later {
                    return Ok(());
                }
            }
        }
        Err(Reason::DroppedMalformed)
    }

    #[inline(always)]
    fn read_ports(&mut self, skb: Skb) -> Result<(), Reason> {
        let ports = match self.key.protocol {
            protocol::TCP => {
                let words: [u32; 4] =
                    skb.load(self.transport).map_err(|_| Reason::DroppedMalformed)?;
                self.sequence = words[1];
                self.tcp = TcpFlags::of(words[3]);
                self.transport_header = (u32::from_be(words[3]) >> 28) * 4;
                words[0]
            }
            protocol::UDP | protocol::SCTP => {
                skb.load(self.transport).map_err(|_| Reason::DroppedMalformed)?
            }
            _ => return Ok(()),
        };
        let [a, b, c, d] = ports.to_ne_bytes();
        self.key.source_port = Port::from_bytes([a, b]);
        self.key.destination_port = Port::from_bytes([c, d]);
        Ok(())
    }

    /// Length of all headers from IP on.
    #[inline(always)]
    pub(crate) fn headers(&self) -> u32 {
        self.transport - ETHERNET + self.transport_header
    }

    /// Whether it is of a protocol that a Service can have.
    #[inline(always)]
    pub(crate) fn has_ports(&self) -> bool {
        has_ports(self.key.protocol)
    }

    /// The checksum that covers addresses and ports, if this packet holds it.
    #[inline(always)]
    pub(crate) fn l4_checksum(&self) -> Option<L4Checksum> {
        match (self.part, self.key.protocol) {
            (Part::Later, _) => None,
            (_, protocol::TCP) => Some(L4Checksum { offset: self.transport + 16, optional: false }),
            (_, protocol::UDP) => Some(L4Checksum { offset: self.transport + 6, optional: true }),
            _ => None,
        }
    }
}

/// Whether a Service can have the protocol.
#[inline(always)]
pub(crate) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
}
