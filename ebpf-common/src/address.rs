//! Addresses and ports as they lie in a packet.

use core::fmt::{Debug, Display};
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::unpadded::unpadded;

/// An address of one family. Maps and programs are generic over it. Nothing else can be one: the
/// types of the maps are known to have no padding with these two.
pub trait Address:
    sealed::Sealed + Copy + Eq + Ord + Hash + Debug + Display + Default + Send + Sync + 'static
{
    /// The family that `bpf_redirect_neigh` and sockets know it by (`AF_INET`, `AF_INET6`).
    const FAMILY: u32;
    /// How many bits a host's prefix has.
    const BITS: u32;

    /// The bytes in groups of four, in the order of the packet; an IPv4 address fills the first.
    fn words(&self) -> [u32; 4];

    /// The address behind [`Address::words`].
    fn from_words(words: [u32; 4]) -> Self;

    /// Equality that compiles to a few comparisons of registers.
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        let (a, b) = (self.words(), other.words());
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
    }
}

/// An IPv4 address, aligned so that programs move it at once.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, align(4))]
pub struct V4([u8; 4]);

/// An IPv6 address, in groups of four bytes and aligned so that programs move it in words.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, align(4))]
pub struct V6([[u8; 4]; 4]);

unpadded!(V4: [u8; 4]);
unpadded!(V6: [u8; 16]);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::V4 {}
    impl Sealed for super::V6 {}
}

impl V4 {
    /// From the bytes of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The bytes as in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        self.0
    }
}

impl V6 {
    /// From the bytes of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]])
    }

    /// The bytes as in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = self.0;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The IPv4 address that an IPv6 socket writes as `::ffff:a.b.c.d`.
    #[inline(always)]
    #[must_use]
    pub fn mapped_v4(&self) -> Option<V4> {
        let [a, b, c, d] = self.words();
        (a == 0 && b == 0 && c == 0xffff_u32.to_be()).then(|| V4(d.to_ne_bytes()))
    }

    /// How an IPv6 socket writes an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub fn from_mapped(address: V4) -> Self {
        Self::from_words([0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes(address.0)])
    }
}

impl Address for V4 {
    const FAMILY: u32 = 2;
    const BITS: u32 = 32;

    #[inline(always)]
    fn words(&self) -> [u32; 4] {
        [u32::from_ne_bytes(self.0), 0, 0, 0]
    }

    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words[0].to_ne_bytes())
    }
}

impl Address for V6 {
    const FAMILY: u32 = 10;
    const BITS: u32 = 128;

    #[inline(always)]
    fn words(&self) -> [u32; 4] {
        self.0.map(u32::from_ne_bytes)
    }

    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words.map(u32::to_ne_bytes))
    }
}

impl From<Ipv4Addr> for V4 {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<V4> for Ipv4Addr {
    fn from(address: V4) -> Self {
        address.0.into()
    }
}

impl From<Ipv6Addr> for V6 {
    fn from(address: Ipv6Addr) -> Self {
        Self::new(address.octets())
    }
}

impl From<V6> for Ipv6Addr {
    fn from(address: V6) -> Self {
        address.bytes().into()
    }
}

impl From<V4> for IpAddr {
    fn from(address: V4) -> Self {
        Self::V4(address.into())
    }
}

impl From<V6> for IpAddr {
    fn from(address: V6) -> Self {
        Self::V6(address.into())
    }
}

impl Display for V4 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Display::fmt(&Ipv4Addr::from(*self), f)
    }
}

impl Display for V6 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Display::fmt(&Ipv6Addr::from(*self), f)
    }
}

impl Debug for V4 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Display::fmt(self, f)
    }
}

impl Debug for V6 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Display::fmt(self, f)
    }
}

/// A port in network byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, align(2))]
pub struct Port([u8; 2]);

impl Port {
    /// Port 0, which no packet has: the key of what is said about a whole address.
    pub const ANY: Self = Self([0; 2]);

    /// From a number as people write it.
    #[inline(always)]
    #[must_use]
    pub const fn new(port: u16) -> Self {
        Self(port.to_be_bytes())
    }

    /// From the bytes of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(bytes)
    }

    /// The number as people write it.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// The bytes of a packet as one number of this machine, as the kernel's helpers want them.
    #[inline(always)]
    #[must_use]
    pub const fn raw(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }

    /// The port behind [`Port::raw`].
    #[inline(always)]
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw.to_ne_bytes())
    }
}

impl Display for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Display::fmt(&self.get(), f)
    }
}

impl Debug for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Display::fmt(self, f)
    }
}

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, align(2))]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The link-local address that Linux gives to an interface with this MAC address by default (RFC
    /// 4291, appendix A: a modified EUI-64 identifier).
    #[must_use]
    pub const fn link_local(self) -> V6 {
        let [a, b, c, d, e, f] = self.0;
        V6::new([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

unpadded!(Port: [u8; 2]);
unpadded!(Mac: [u8; 6]);

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn an_address_survives_its_words() {
        let four = V4::from(Ipv4Addr::new(10, 244, 1, 2));
        assert_eq!(V4::from_words(four.words()), four);
        let six = V6::from("fd00:1:2::3:4".parse::<Ipv6Addr>().unwrap());
        assert_eq!(V6::from_words(six.words()), six);
        assert_eq!(six.to_string(), "fd00:1:2::3:4");
    }

    #[test]
    fn equality_by_words_sees_every_byte() {
        for byte in 0..16 {
            let mut bytes = [7; 16];
            bytes[byte] = 8;
            assert!(!V6::new(bytes).is(&V6::new([7; 16])), "byte {byte}");
        }
        assert!(V6::new([7; 16]).is(&V6::new([7; 16])));
        assert!(!V4::new([1, 2, 3, 4]).is(&V4::new([1, 2, 3, 5])));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_in_it() {
        let four = V4::from(Ipv4Addr::new(10, 96, 0, 10));
        let mapped = V6::from(Ipv4Addr::new(10, 96, 0, 10).to_ipv6_mapped());
        assert_eq!(V6::from_mapped(four), mapped);
        assert_eq!(mapped.mapped_v4(), Some(four));
        assert_eq!(V6::from("fd00::1".parse::<Ipv6Addr>().unwrap()).mapped_v4(), None);
    }

    #[test]
    fn a_link_local_address_is_made_of_the_mac_address() {
        let address = Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 2]).link_local();
        assert_eq!(address.to_string(), "fe80::858:aff:fef4:102");
    }

    #[test]
    fn a_port_lies_in_network_order() {
        assert_eq!(Port::new(0x1234), Port::from_bytes([0x12, 0x34]));
        assert_eq!(Port::from_raw(Port::new(443).raw()).get(), 443);
    }
}
