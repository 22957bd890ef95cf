//! The MAC address of a pod's interface: requested, or derived from the pod's IP address. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use weir_netlink::MacAddr;

use crate::range::RangeSet;

/// The MAC address for an IP address: `0a:58` and the last four bytes of the IP address.
///
/// The next pod with an IP address has the same MAC address, so that no neighbour entry on the bridge
/// becomes stale.
pub(crate) fn mac_for(ip: IpAddr) -> MacAddr {
    let [a, b, c, d] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    };
    MacAddr::new([0x0a, 0x58, a, b, c, d])
}

/// The MAC address of a pod's interface, and where it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChosenMac {
    /// The address.
    pub address: MacAddr,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a MAC address is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This key of the configuration, or variable, requests it.
    Requested(&'static str),
    /// It follows from this IP address.
    Derived(IpAddr),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(key) => write!(f, "requested by {key}"),
            Self::Derived(ip) => write!(f, "derived from {ip}"),
        }
    }
}

/// The index of the range set whose address decides the MAC address: the first one of IPv4, else the
/// first one.
pub(crate) fn deciding_set(sets: &[RangeSet]) -> usize {
    sets.iter().position(RangeSet::is_ipv4).unwrap_or(0)
}

/// The MAC address that follows from a pod's address of the deciding set.
pub(crate) fn derive(ip: Option<IpAddr>) -> ChosenMac {
    let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    ChosenMac { address: mac_for(ip), origin: Origin::Derived(ip) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_follows_from_the_ip_address() {
        let mac = |ip: &str| mac_for(ip.parse().unwrap()).to_string();
        assert_eq!(mac("10.244.1.2"), "0a:58:0a:f4:01:02");
        assert_eq!(mac("fd00:1::a1b2:c3d4"), "0a:58:a1:b2:c3:d4");
    }
}
