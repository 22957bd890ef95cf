//! What differs between the address families.

use aya_log_ebpf::macro_support::{Argument, IpFormatter};
use weir_ebpf_common::header::{self, ETHERNET, Ip};
use weir_ebpf_common::{Address, V4, V6, corrected, protocol, reject};

use crate::maps::Mapped;
use crate::skb::{Checksum, Head, HelperFailed, Skb, difference};

/// The checksum of TCP or UDP, which covers the addresses as well.
#[derive(Clone, Copy)]
pub(crate) struct L4Checksum {
    /// Where it is.
    pub(crate) offset: u32,
    /// 0 means that there is none.
    pub(crate) optional: bool,
}

pub(crate) trait Family: Mapped {
    /// The Ethernet protocol, in network byte order.
    const ETHERTYPE: u32;
    /// Where the source address of a packet is.
    const SOURCE: u32;
    /// Where the destination address of a packet is.
    const DESTINATION: u32;
    /// An address as log lines take it.
    type Shown: IpFormatter + Argument;

    /// The address for a log line.
    fn shown(&self) -> Self::Shown;

    /// Length of the header without options or extensions.
    const HEADER: u32;
    /// The protocol of errors about packets.
    const ICMP: u8;

    /// Reads a header, without extensions; nothing if it is not one.
    fn header(skb: Skb, offset: u32) -> Option<Ip<Self>>;

    /// Addresses and protocol of an ordinary header: without options or extensions, and of no
    /// fragment.
    fn inline_header(head: Head) -> Option<(Self, Self, u8)>;

    /// The first half of [`Family::replace`] of an ordinary header: what needs no helper.
    fn replace_inline(head: Head, offset: u32, change: (&Self, &Self));

    /// The other half, after everything else that is done in place.
    fn finish_inline(
        skb: Skb,
        offset: u32,
        change: (&Self, &Self),
        checksum: L4Checksum,
    ) -> Result<(), HelperFailed>;

    /// Replaces an address of the header, and corrects all checksums for it.
    fn replace(
        skb: Skb,
        offset: u32,
        change: (&Self, &Self),
        checksum: Option<L4Checksum>,
    ) -> Result<(), HelperFailed>;

    /// Replaces an address of a header at `header` that an ICMP error quotes; `field` is where it
    /// is in a packet. The error's own checksum is at `checksum`.
    fn replace_quoted(
        skb: Skb,
        header: u32,
        field: u32,
        change: (&Self, &Self),
        checksum: u32,
    ) -> Result<(), HelperFailed>;

    /// How an ICMP checksum at `offset` depends on the packet's addresses.
    fn icmp_checksum(offset: u32) -> Option<L4Checksum>;

    /// Whether an ICMP message of this type is an error that quotes a packet.
    fn is_error(kind: u8) -> bool;

    /// Whether only routers send messages of this protocol and type: advertisements of themselves,
    /// redirects, and queries of multicast listeners.
    fn is_of_router(protocol: u8, kind: u8) -> bool;

    /// Whether an ICMP message of this type says, or with the `unspecified` source asks, that its
    /// target is an address of the sender (RFC 4861, sections 4.3 and 4.4).
    fn names_own_address(kind: u8, unspecified: bool) -> bool;

    /// Whether an ICMP message of this type may come from the unspecified address.
    fn may_be_unspecified(kind: u8) -> bool;

    /// Writes a header without options.
    fn store_header(
        skb: Skb,
        source: &Self,
        destination: &Self,
        protocol: u8,
        payload: u16,
    ) -> Result<(), HelperFailed>;

    /// The header of an ICMP error about this packet, which quotes its header and eight bytes.
    fn unreachable(skb: Skb, source: &Self, destination: &Self) -> Result<[u32; 2], HelperFailed>;
}

impl Family for V4 {
    type Shown = [u8; 4];

    #[inline(always)]
    fn shown(&self) -> Self::Shown {
        self.bytes()
    }

    const ETHERTYPE: u32 = 0x0800_u16.to_be() as u32;
    const SOURCE: u32 = ETHERNET + 12;
    const DESTINATION: u32 = ETHERNET + 16;
    const HEADER: u32 = header::IPV4;
    const ICMP: u8 = reject::icmp::<Self>();

    #[inline(always)]
    fn header(skb: Skb, offset: u32) -> Option<Ip<Self>> {
        header::ipv4(&skb.load(offset).ok()?)
    }

    #[inline(always)]
    fn inline_header(head: Head) -> Option<(Self, Self, u8)> {
        // Version 4 and five words; "don't fragment" at most.
        let is_ordinary = head.load::<u8>(ETHERNET) == 0x45
            && head.load::<u16>(ETHERNET + 6) & !0x4000_u16.to_be() == 0;
        let protocol = head.load(ETHERNET + 9);
        is_ordinary.then(|| (head.load(Self::SOURCE), head.load(Self::DESTINATION), protocol))
    }

    #[inline(always)]
    fn replace_inline(head: Head, offset: u32, (from, to): (&Self, &Self)) {
        const CHECKSUM: u32 = ETHERNET + 10;
        head.store(CHECKSUM, corrected(head.load(CHECKSUM), from.words()[0], to.words()[0]));
        head.store(offset, *to);
    }

    #[inline(always)]
    fn finish_inline(
        skb: Skb,
        _offset: u32,
        (from, to): (&Self, &Self),
        L4Checksum { offset, optional }: L4Checksum,
    ) -> Result<(), HelperFailed> {
        skb.correct(offset, (from.words()[0], to.words()[0], 4), Checksum::Pseudo, optional)
    }

    #[inline(always)]
    fn replace(
        skb: Skb,
        offset: u32,
        (from, to): (&Self, &Self),
        checksum: Option<L4Checksum>,
    ) -> Result<(), HelperFailed> {
        let (old, new) = (from.words()[0], to.words()[0]);
        if let Some(L4Checksum { offset, optional }) = checksum {
            skb.correct(offset, (old, new, 4), Checksum::Pseudo, optional)?;
        }
        // The changes of the address and of the header's checksum cancel in a checksum of both.
        skb.correct_header(ETHERNET + 10, old, new)?;
        skb.store(offset, to)
    }

    #[inline(always)]
    fn replace_quoted(
        skb: Skb,
        header: u32,
        field: u32,
        (from, to): (&Self, &Self),
        _checksum: u32,
    ) -> Result<(), HelperFailed> {
        // The quoted header's checksum cancels the change in the error's.
        skb.correct_header(header + 10, from.words()[0], to.words()[0])?;
        skb.store(header + field - ETHERNET, to)
    }

    #[inline(always)]
    fn icmp_checksum(_offset: u32) -> Option<L4Checksum> {
        None
    }

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Destination unreachable, time exceeded, parameter problem.
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn is_of_router(protocol: u8, kind: u8) -> bool {
        matches!((protocol, kind), (Self::ICMP, 5 | 9) | (protocol::IGMP, 0x11))
    }

    #[inline(always)]
    fn names_own_address(_kind: u8, _unspecified: bool) -> bool {
        false
    }

    #[inline(always)]
    fn may_be_unspecified(_kind: u8) -> bool {
        false
    }

    #[inline(always)]
    fn store_header(
        skb: Skb,
        source: &Self,
        destination: &Self,
        protocol: u8,
        payload: u16,
    ) -> Result<(), HelperFailed> {
        let words =
            reject::ipv4_header(source.words()[0], destination.words()[0], protocol, payload);
        skb.store(ETHERNET, &words)
    }

    #[inline(always)]
    fn unreachable(skb: Skb, source: &Self, destination: &Self) -> Result<[u32; 2], HelperFailed> {
        let quoted: [u32; 7] = skb.load(ETHERNET)?;
        Ok(reject::unreachable(source, destination, &quoted))
    }
}

impl Family for V6 {
    type Shown = [u8; 16];

    #[inline(always)]
    fn shown(&self) -> Self::Shown {
        self.bytes()
    }

    const ETHERTYPE: u32 = 0x86dd_u16.to_be() as u32;
    const SOURCE: u32 = ETHERNET + 8;
    const DESTINATION: u32 = ETHERNET + 24;
    const HEADER: u32 = header::IPV6;
    const ICMP: u8 = reject::icmp::<Self>();

    #[inline(always)]
    fn header(skb: Skb, offset: u32) -> Option<Ip<Self>> {
        header::ipv6(&skb.load(offset).ok()?)
    }

    #[inline(always)]
    fn inline_header(head: Head) -> Option<(Self, Self, u8)> {
        let is_ordinary = head.load::<u8>(ETHERNET) >> 4 == 6;
        let protocol = head.load(ETHERNET + 6);
        is_ordinary.then(|| (head.load(Self::SOURCE), head.load(Self::DESTINATION), protocol))
    }

    #[inline(always)]
    fn replace_inline(_head: Head, _offset: u32, _change: (&Self, &Self)) {}

    #[inline(always)]
    fn finish_inline(
        skb: Skb,
        offset: u32,
        change: (&Self, &Self),
        checksum: L4Checksum,
    ) -> Result<(), HelperFailed> {
        Self::replace(skb, offset, change, Some(checksum))
    }

    #[inline(always)]
    fn replace(
        skb: Skb,
        offset: u32,
        (from, to): (&Self, &Self),
        checksum: Option<L4Checksum>,
    ) -> Result<(), HelperFailed> {
        if let Some(L4Checksum { offset, optional }) = checksum {
            let change = difference(from, to);
            skb.correct(offset, (0, change, 0), Checksum::Pseudo, optional)?;
        }
        // `Pseudo` alone would make a checksum of the whole packet, as some devices compute it,
        // wrong: here no header has a checksum that cancels the address. What recomputing does to
        // it is right on every kernel, and nothing for packets without such a checksum.
        skb.store_recomputing(offset, to)
    }

    #[inline(always)]
    fn replace_quoted(
        skb: Skb,
        header: u32,
        field: u32,
        (from, to): (&Self, &Self),
        checksum: u32,
    ) -> Result<(), HelperFailed> {
        let change = difference(from, to);
        skb.correct(checksum, (0, change, 0), Checksum::Plain, false)?;
        skb.store(header + field - ETHERNET, to)
    }

    #[inline(always)]
    fn icmp_checksum(offset: u32) -> Option<L4Checksum> {
        Some(L4Checksum { offset, optional: false })
    }

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        kind < 128
    }

    #[inline(always)]
    fn is_of_router(protocol: u8, kind: u8) -> bool {
        matches!((protocol, kind), (Self::ICMP, 130 | 134 | 137))
    }

    #[inline(always)]
    fn names_own_address(kind: u8, unspecified: bool) -> bool {
        kind == 136 || kind == 135 && unspecified
    }

    #[inline(always)]
    fn may_be_unspecified(kind: u8) -> bool {
        // A router solicitation, and reports of multicast listeners.
        matches!(kind, 131 | 133 | 143)
    }

    #[inline(always)]
    fn store_header(
        skb: Skb,
        source: &Self,
        destination: &Self,
        protocol: u8,
        payload: u16,
    ) -> Result<(), HelperFailed> {
        let words = reject::ipv6_header(source.words(), destination.words(), protocol, payload);
        skb.store(ETHERNET, &words)
    }

    #[inline(always)]
    fn unreachable(skb: Skb, source: &Self, destination: &Self) -> Result<[u32; 2], HelperFailed> {
        let quoted: [u32; 12] = skb.load(ETHERNET)?;
        Ok(reject::unreachable(source, destination, &quoted))
    }
}
