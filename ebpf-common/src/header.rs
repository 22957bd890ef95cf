//! Fields of packet headers, read from words that a program has copied out of a packet.
//!
//! The words are as they lie in memory: each holds four bytes of the packet in their order.

use crate::{Address, V4, V6};

/// Length of an Ethernet header, which is all that lies before the IP header at TC.
pub const ETHERNET: u32 = 14;
/// Length of an IPv4 header without options.
pub const IPV4: u32 = 20;
/// Length of an IPv6 header without extensions.
pub const IPV6: u32 = 40;

/// Next header numbers that stand for an extension of IPv6's header.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

/// Which part of a datagram a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole = 0,
    /// The first fragment, with the ports.
    First = 1,
    /// Another fragment, without them.
    Later = 2,
}

/// What an IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// The protocol of what follows; for IPv6 it may be an extension, see [`Extension`].
    pub protocol: u8,
    /// Whether it is a fragment; IPv6 says so in an extension.
    pub part: Part,
    /// Length of the header in bytes.
    pub header: u32,
    /// The identification that fragments of a datagram share.
    pub fragment: u32,
}

/// Reads an IPv4 header; nothing if it is not one.
#[inline(always)]
#[must_use]
pub fn ipv4(words: &[u32; 5]) -> Option<Ip<V4>> {
    let first = u32::from_be(words[0]);
    let header = (first >> 24 & 0xf) * 4;
    if first >> 28 != 4 || header < IPV4 {
        return None;
    }
    let second = u32::from_be(words[1]);
    let [_, protocol, _, _] = words[2].to_ne_bytes();
    Some(Ip {
        source: V4::from_words([words[3], 0, 0, 0]),
        destination: V4::from_words([words[4], 0, 0, 0]),
        protocol,
        part: part(second & 0x1fff, second & 0x2000),
        header,
        fragment: second >> 16,
    })
}

/// Reads an IPv6 header, not its extensions; nothing if it is not one.
#[inline(always)]
#[must_use]
pub fn ipv6(words: &[u32; 10]) -> Option<Ip<V6>> {
    let [version, ..] = words[0].to_ne_bytes();
    if version >> 4 != 6 {
        return None;
    }
    let [_, _, protocol, _] = words[1].to_ne_bytes();
    Some(Ip {
        source: V6::from_words([words[2], words[3], words[4], words[5]]),
        destination: V6::from_words([words[6], words[7], words[8], words[9]]),
        protocol,
        part: Part::Whole,
        header: IPV6,
        fragment: 0,
    })
}

/// An extension of an IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The protocol of what follows it.
    pub next: u8,
    /// Its length in bytes.
    pub length: u32,
    /// The fragment that the packet is, if it is the extension that says so.
    pub fragment: Option<(Part, u32)>,
}

/// Whether a next header number stands for an extension that the ports can lie behind.
#[inline(always)]
#[must_use]
pub const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION
    )
}

/// Reads the extension with the number `protocol` from its first eight bytes.
#[inline(always)]
#[must_use]
pub const fn extension(protocol: u8, words: &[u32; 2]) -> Extension {
    let [next, length, _, _] = words[0].to_ne_bytes();
    if protocol == extension::FRAGMENT {
        let offset = u32::from_be(words[0]) & 0xffff;
        let fragment = Some((part(offset & 0xfff8, offset & 1), words[1]));
        return Extension { next, length: 8, fragment };
    }
    Extension { next, length: (length as u32 + 1) * 8, fragment: None }
}

#[inline(always)]
const fn part(offset: u32, more: u32) -> Part {
    match (offset, more) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    }
}

/// Flags of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    const FIN: u8 = 1 << 0;
    const SYN: u8 = 1 << 1;
    const RST: u8 = 1 << 2;
    const ACK: u8 = 1 << 4;

    /// From the fourth word of a TCP header.
    #[inline(always)]
    #[must_use]
    pub const fn of(word: u32) -> Self {
        let [_, flags, _, _] = word.to_ne_bytes();
        Self(flags)
    }

    /// The first packet of a connection.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// The sender closes its side.
    #[inline(always)]
    #[must_use]
    pub const fn closes(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// The sender ends the connection.
    #[inline(always)]
    #[must_use]
    pub const fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// The sender closes its side or ends the connection.
    #[inline(always)]
    #[must_use]
    pub const fn ends(self) -> bool {
        self.0 & (Self::FIN | Self::RST) != 0
    }

    /// Whether the header acknowledges something.
    #[inline(always)]
    #[must_use]
    pub const fn acknowledges(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
        core::array::from_fn(|i| u32::from_ne_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap()))
    }

    fn ipv4_header(flags_and_offset: u16) -> [u8; 20] {
        let [high, low] = flags_and_offset.to_be_bytes();
        [0x45, 0, 0, 60, 0x12, 0x34, high, low, 64, 17, 0, 0, 10, 0, 0, 1, 10, 96, 0, 10]
    }

    #[test]
    fn an_ipv4_header_is_read() {
        let ip = ipv4(&words(&ipv4_header(0x4000))).unwrap();
        let (source, destination) = (V4::new([10, 0, 0, 1]), V4::new([10, 96, 0, 10]));
        let part = Part::Whole;
        assert_eq!(
            ip,
            Ip { source, destination, protocol: 17, part, header: 20, fragment: 0x1234 }
        );
    }

    #[test]
    fn ipv4_fragments_are_told_apart() {
        let part = |field| ipv4(&words(&ipv4_header(field))).unwrap().part;
        assert_eq!(part(0x2000), Part::First);
        assert_eq!(part(0x2001), Part::Later);
        assert_eq!(part(0x00b9), Part::Later);
        assert_eq!(part(0x4000), Part::Whole);
    }

    #[test]
    fn options_make_an_ipv4_header_longer_and_a_wrong_version_is_none() {
        let mut bytes = ipv4_header(0);
        bytes[0] = 0x4f;
        assert_eq!(ipv4(&words(&bytes)).unwrap().header, 60);
        for wrong in [0x44, 0x65, 0x05] {
            bytes[0] = wrong;
            assert_eq!(ipv4(&words(&bytes)), None);
        }
    }

    #[test]
    fn an_ipv6_header_is_read() {
        let mut bytes = [0; 40];
        (bytes[0], bytes[6], bytes[8], bytes[39]) = (0x60, 6, 0xfd, 9);
        let ip = ipv6(&words(&bytes)).unwrap();
        assert_eq!((ip.protocol, ip.header), (6, 40));
        assert_eq!(ip.source.bytes()[0], 0xfd);
        assert_eq!(ip.destination.bytes()[15], 9);
    }

    #[test]
    fn extensions_lead_to_the_next_header() {
        let options = extension(0, &words(&[6, 1, 0, 0, 0, 0, 0, 0]));
        assert_eq!(options, Extension { next: 6, length: 16, fragment: None });
        for (offset, part) in [(1_u16, Part::First), (8, Part::Later), (0, Part::Whole)] {
            let [high, low] = offset.to_be_bytes();
            let fragment = extension(44, &words(&[17, 0, high, low, 1, 2, 3, 4]));
            let id = u32::from_ne_bytes([1, 2, 3, 4]);
            assert_eq!(fragment, Extension { next: 17, length: 8, fragment: Some((part, id)) });
        }
        assert!(!is_extension(6) && is_extension(44));
    }

    #[test]
    fn only_the_first_packet_of_a_connection_opens_it() {
        let flags = |bits| TcpFlags::of(u32::from_ne_bytes([0x50, bits, 0, 0]));
        assert!(flags(0x02).opens());
        assert!(!flags(0x12).opens());
        assert!(flags(0x11).closes() && flags(0x14).resets());
    }
}
