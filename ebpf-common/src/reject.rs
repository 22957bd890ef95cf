//! Headers of the packets that programs send themselves, to reject a flow: a TCP reset, or an ICMP error.
//!
//! All words are as they lie in a packet. A sum of 32-bit words folds to the same checksum as one of
//! 16-bit words, in either byte order.

use crate::header::TcpFlags;
use crate::{Address, add, finish, protocol};

/// The hop limit (TTL) of what they send.
const HOPS: u8 = 64;

/// The ICMP message that says that nobody listens at a port, without checksum and quotation.
const PORT_UNREACHABLE_V4: [u8; 4] = [3, 3, 0, 0];
/// The same of ICMPv6.
const PORT_UNREACHABLE_V6: [u8; 4] = [1, 4, 0, 0];
/// The protocol number of ICMP.
const ICMP_V4: u8 = 1;
/// The protocol number of ICMPv6.
const ICMP_V6: u8 = 58;

/// An IPv4 header.
#[inline(always)]
#[must_use]
pub fn ipv4_header(source: u32, destination: u32, protocol: u8, payload: u16) -> [u32; 5] {
    let [high, low] = (payload + 20).to_be_bytes();
    let mut words = [
        u32::from_ne_bytes([0x45, 0, high, low]),
        u32::from_ne_bytes([0, 0, 0x40, 0]),
        u32::from_ne_bytes([HOPS, protocol, 0, 0]),
        source,
        destination,
    ];
    let [a, b] = finish(sum(&words, 0)).to_ne_bytes();
    words[2] = u32::from_ne_bytes([HOPS, protocol, a, b]);
    words
}

/// An IPv6 header.
#[inline(always)]
#[must_use]
pub fn ipv6_header(
    source: [u32; 4],
    destination: [u32; 4],
    protocol: u8,
    payload: u16,
) -> [u32; 10] {
    let [high, low] = payload.to_be_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (source, destination);
    let first = u32::from_ne_bytes([0x60, 0, 0, 0]);
    [first, u32::from_ne_bytes([high, low, protocol, HOPS]), a, b, c, d, e, f, g, h]
}

/// What a rejected TCP packet has.
#[derive(Clone, Copy, Debug)]
pub struct RejectedTcp {
    /// Its ports.
    pub ports: u32,
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledged: u32,
    /// Its flags.
    pub flags: TcpFlags,
}

/// The TCP header that resets a connection (RFC 9293, 3.10.7.1), sent from `source`.
#[inline(always)]
#[must_use]
pub fn reset<A: Address>(source: &A, destination: &A, rejected: RejectedTcp) -> [u32; 5] {
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    let (sequence, acknowledged, flags) = if rejected.flags.acknowledges() {
        (rejected.acknowledged, 0, RST)
    } else {
        let opened = u32::from_be(rejected.sequence).wrapping_add(1);
        (0, opened.to_be(), RST | ACK)
    };
    let [a, b, c, d] = rejected.ports.to_ne_bytes();
    let mut words = [
        u32::from_ne_bytes([c, d, a, b]),
        sequence,
        acknowledged,
        u32::from_ne_bytes([0x50, flags, 0, 0]),
        0,
    ];
    let pseudo = pseudo_header(source, destination, protocol::TCP, 20);
    let [a, b] = finish(sum(&words, pseudo)).to_ne_bytes();
    words[4] = u32::from_ne_bytes([a, b, 0, 0]);
    words
}

/// The header of an ICMP error (port unreachable) from `source` that quotes `quoted`.
#[inline(always)]
#[must_use]
pub fn unreachable<A: Address, const N: usize>(
    source: &A,
    destination: &A,
    quoted: &[u32; N],
) -> [u32; 2] {
    let (kind, covered) = if A::BITS == 128 {
        let length = (N * 4 + 8).to_le_bytes();
        let length = u16::from_le_bytes([length[0], length[1]]);
        (PORT_UNREACHABLE_V6, pseudo_header(source, destination, ICMP_V6, length))
    } else {
        (PORT_UNREACHABLE_V4, 0)
    };
    let word = u32::from_ne_bytes(kind);
    let [a, b] = finish(sum(quoted, add(covered, word))).to_ne_bytes();
    [u32::from_ne_bytes([kind[0], kind[1], a, b]), 0]
}

/// The protocol number of a family's ICMP.
#[inline(always)]
#[must_use]
pub const fn icmp<A: Address>() -> u8 {
    if A::BITS == 128 { ICMP_V6 } else { ICMP_V4 }
}

#[inline(always)]
fn pseudo_header<A: Address>(source: &A, destination: &A, protocol: u8, length: u16) -> u32 {
    let [high, low] = length.to_be_bytes();
    let rest = u32::from_ne_bytes([0, protocol, high, low]);
    sum(&source.words(), sum(&destination.words(), rest))
}

#[inline(always)]
fn sum<const N: usize>(words: &[u32; N], start: u32) -> u32 {
    let mut total = start;
    let mut index = 0;
    while index < N {
        total = add(total, words[index]);
        index += 1;
    }
    total
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use etherparse::{
        Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, Ipv4HeaderSlice, Ipv6HeaderSlice,
        TcpHeaderSlice, icmpv4, icmpv6,
    };

    use super::*;
    use crate::{V4, V6};

    const CLIENT_V4: V4 = V4::new([10, 244, 1, 2]);
    const SERVICE_V4: V4 = V4::new([10, 96, 0, 10]);
    const CLIENT_V6: V6 = V6::new([0xfd, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    const SERVICE_V6: V6 = V6::new([0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn syn() -> RejectedTcp {
        RejectedTcp {
            ports: u32::from_ne_bytes([0x9c, 0x40, 0, 80]),
            sequence: u32::MAX,
            acknowledged: 0,
            flags: TcpFlags::of(u32::from_ne_bytes([0xa0, 0x02, 0, 0])),
        }
    }

    #[test]
    fn headers_are_as_others_would_write_them() {
        let words = ipv4_header(SERVICE_V4.words()[0], CLIENT_V4.words()[0], protocol::TCP, 20);
        let four = bytes(&words);
        let header = Ipv4HeaderSlice::from_slice(&four).unwrap();
        assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        assert_eq!((header.total_len(), header.destination()), (40, CLIENT_V4.bytes()));
        let six = bytes(&ipv6_header(SERVICE_V6.words(), CLIENT_V6.words(), 58, 56));
        let header = Ipv6HeaderSlice::from_slice(&six).unwrap();
        assert_eq!((header.payload_length(), header.source()), (56, SERVICE_V6.bytes()));
    }

    #[test]
    fn a_connection_is_refused_with_a_reset_that_acknowledges_its_opening() {
        let four = bytes(&reset(&SERVICE_V4, &CLIENT_V4, syn()));
        let tcp = TcpHeaderSlice::from_slice(&four).unwrap();
        assert!(tcp.rst() && tcp.ack() && !tcp.syn());
        assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40_000));
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (0, 0));
        let sum =
            tcp.to_header().calc_checksum_ipv4_raw(SERVICE_V4.bytes(), CLIENT_V4.bytes(), &[]);
        assert_eq!(Ok(tcp.checksum()), sum);

        let six = bytes(&reset(&SERVICE_V6, &CLIENT_V6, syn()));
        let tcp = TcpHeaderSlice::from_slice(&six).unwrap();
        let sum =
            tcp.to_header().calc_checksum_ipv6_raw(SERVICE_V6.bytes(), CLIENT_V6.bytes(), &[]);
        assert_eq!(Ok(tcp.checksum()), sum);
    }

    #[test]
    fn a_packet_of_a_lost_connection_is_reset_where_it_is() {
        let flags = TcpFlags::of(u32::from_ne_bytes([0x50, 0x10, 0, 0]));
        let rejected = RejectedTcp { flags, acknowledged: 77_u32.to_be(), ..syn() };
        let bytes = bytes(&reset(&SERVICE_V4, &CLIENT_V4, rejected));
        let tcp = TcpHeaderSlice::from_slice(&bytes).unwrap();
        assert!(tcp.rst() && !tcp.ack());
        assert_eq!(tcp.sequence_number(), 77);
    }

    #[test]
    fn an_error_has_a_checksum_over_what_it_quotes() {
        let quoted: [u32; 7] = core::array::from_fn(|i| 0x9234_5678 + u32::try_from(i).unwrap());
        let mut four = bytes(&unreachable(&SERVICE_V4, &CLIENT_V4, &quoted));
        four.extend(bytes(&quoted));
        let error = Icmpv4Slice::from_slice(&four).unwrap();
        let expected = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
        assert_eq!(error.icmp_type(), expected);
        assert_eq!(error.checksum(), expected.calc_checksum(&bytes(&quoted)));

        let quoted: [u32; 12] = core::array::from_fn(|i| 0xf234_5678 + u32::try_from(i).unwrap());
        let mut six = bytes(&unreachable(&SERVICE_V6, &CLIENT_V6, &quoted));
        six.extend(bytes(&quoted));
        let error = Icmpv6Slice::from_slice(&six).unwrap();
        let expected = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
        assert_eq!(error.icmp_type(), expected);
        let sum = expected.calc_checksum(SERVICE_V6.bytes(), CLIENT_V6.bytes(), &bytes(&quoted));
        assert_eq!(Ok(error.checksum()), sum);
    }
}
