//! Ranges of addresses, and the order in which they are assigned.
//!
//! Pure: the store knows which addresses are reserved. The rules are those of host-local: the network
//! address, the IPv4 broadcast address and gateways are never assigned, and a released address is
//! assigned again after all others.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::IpNetwork;

use crate::Error;

/// A range of addresses of one subnet, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    subnet: IpNetwork,
    gateway: IpAddr,
    first: u128,
    last: u128,
}

impl Range {
    /// A range of the configuration. `key` is its path in the configuration, for errors.
    pub fn new(
        key: &str,
        subnet: IpNetwork,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        gateway: Option<IpAddr>,
    ) -> Result<Self, Error> {
        let invalid =
            |field: &str, problem: String| Error::config(format!("{key}.{field}"), problem);
        if subnet.ip() != subnet.network() {
            let network = subnet.network();
            let problem = format!("{subnet} has host bits set; its network is {network}");
            return Err(invalid("subnet", problem));
        }
        if !is_unicast(subnet) {
            return Err(invalid("subnet", format!("{subnet} has no addresses that pods can have")));
        }
        let host_bits = bits(subnet.ip()) - u32::from(subnet.prefix());
        if host_bits < 2 {
            return Err(invalid("subnet", format!("{subnet} has no room for a gateway and a pod")));
        }
        let network = number(subnet.ip());
        let highest = network | u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        // An IPv4 subnet's highest address is its broadcast address.
        let usable = if subnet.is_ipv4() { highest - 1 } else { highest };
        let host_address = |field, ip: Option<IpAddr>, otherwise| match ip {
            None => Ok(otherwise),
            Some(ip) if !subnet.contains(ip) => {
                Err(invalid(field, format!("{ip} is not in subnet {subnet}")))
            }
            Some(ip) if number(ip) == network || number(ip) > usable => {
                Err(invalid(field, format!("{ip} is not a host address of {subnet}")))
            }
            Some(ip) => Ok(number(ip)),
        };
        let first = host_address("rangeStart", start, network + 1)?;
        let last = host_address("rangeEnd", end, usable)?;
        let gateway = host_address("gateway", gateway, network + 1)?;
        if first > last {
            return Err(invalid("rangeEnd", "it is below rangeStart".to_owned()));
        }
        let gateway = address(subnet, gateway);
        Ok(Self { subnet, gateway, first, last })
    }

    /// The subnet of the range.
    pub const fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// The subnet's gateway: the bridge's address.
    pub const fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The gateway's address with the subnet's prefix length, for the bridge.
    pub fn gateway_network(&self) -> IpNetwork {
        with_prefix(self.gateway, self.subnet)
    }

    /// Whether the address is between the range's ends.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.subnet.contains(ip) && (self.first..=self.last).contains(&number(ip))
    }

    /// An address of the range with the subnet's prefix length, for a pod.
    pub fn network_of(&self, ip: IpAddr) -> IpNetwork {
        with_prefix(ip, self.subnet)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.subnet.is_ipv4() == other.subnet.is_ipv4()
            && self.first <= other.last
            && other.first <= self.last
    }

    const fn size(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (address(self.subnet, self.first), address(self.subnet, self.last));
        write!(f, "{first}-{last}")
    }
}

/// Ranges that the allocator treats as one: a pod gets one address from each set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// A set of ranges of one family that do not overlap.
    pub fn new(key: &str, ranges: Vec<Range>) -> Result<Self, Error> {
        let Some(first) = ranges.first() else {
            return Err(Error::config(key, "it has no range"));
        };
        if ranges.iter().any(|range| range.subnet.is_ipv4() != first.subnet.is_ipv4()) {
            return Err(Error::config(key, "it mixes IPv4 and IPv6; give each a range set"));
        }
        check_disjoint(key, ranges.iter())?;
        Ok(Self(ranges))
    }

    /// The ranges.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether the ranges are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.0.first().is_some_and(|range| range.subnet.is_ipv4())
    }

    /// The range from which an address may be assigned; `None` for a gateway.
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip)).filter(|_| !self.is_gateway(ip))
    }

    fn is_gateway(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|range| range.gateway == ip)
    }

    /// The number of addresses that can be assigned.
    pub fn size(&self) -> u128 {
        let gateways = |range: &&Range| self.0.iter().any(|other| other.contains(range.gateway));
        let size = self.0.iter().fold(0_u128, |sum, range| sum.saturating_add(range.size()));
        // A gateway that two ranges of one subnet share is one address.
        let mut reserved: Vec<_> =
            self.0.iter().filter(gateways).map(|range| number(range.gateway)).collect();
        reserved.sort_unstable();
        reserved.dedup();
        size.saturating_sub(reserved.len() as u128)
    }

    /// Every address that can be assigned, once, starting after `last` (or at the beginning).
    pub fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let start = last.and_then(|ip| {
            self.0.iter().position(|range| range.contains(ip)).map(|index| (index, number(ip)))
        });
        let (index, behind) = start.unwrap_or((0, u128::MAX));
        let count = self.0.len();
        // The rest of the range that contains `last`, the other ranges, and the beginning of that range.
        let pieces = (0..=count).filter_map(move |turn| {
            let range = self.0.get((index + turn) % count)?;
            let (from, to) = match (start, turn) {
                (None, turn) if turn == count => return None,
                (None, _) => (range.first, range.last),
                (Some(_), 0) => (behind.checked_add(1)?, range.last),
                (Some(_), turn) if turn == count => (range.first, behind),
                (Some(_), _) => (range.first, range.last),
            };
            Some((range, from, to))
        });
        pieces
            .flat_map(|(range, from, to)| {
                (from..=to).map(move |value| (address(range.subnet, value), range))
            })
            .filter(|(ip, _)| !self.is_gateway(*ip))
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<_> = self.0.iter().map(Range::to_string).collect();
        f.write_str(&ranges.join(", "))
    }
}

/// Checks that no address is in two ranges.
pub(crate) fn check_disjoint<'a>(
    key: &str,
    ranges: impl Iterator<Item = &'a Range>,
) -> Result<(), Error> {
    let mut seen: Vec<&Range> = Vec::new();
    for range in ranges {
        if let Some(other) = seen.iter().find(|other| other.overlaps(range)) {
            return Err(Error::config(key, format!("range {range} overlaps {other}")));
        }
        seen.push(range);
    }
    Ok(())
}

/// Whether routers forward packets to the addresses of a network.
fn is_unicast(subnet: IpNetwork) -> bool {
    let is_link_local = match subnet {
        // These are what some networks have left.
        IpNetwork::V4(_) => false,
        IpNetwork::V6(subnet) => subnet.ip().is_unicast_link_local(),
    };
    let ip = subnet.ip();
    !(is_link_local || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}

const fn bits(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The inverse of [`number`], in the family of `subnet`.
fn address(subnet: IpNetwork, value: u128) -> IpAddr {
    match subnet {
        // A value below the IPv4 range's end fits; the fallback is never used.
        IpNetwork::V4(_) => Ipv4Addr::from_bits(u32::try_from(value).unwrap_or(u32::MAX)).into(),
        IpNetwork::V6(_) => Ipv6Addr::from_bits(value).into(),
    }
}

fn with_prefix(ip: IpAddr, subnet: IpNetwork) -> IpNetwork {
    // The prefix length is that of a subnet of the same family, so it is never too long.
    IpNetwork::new(ip, subnet.prefix()).unwrap_or(subnet)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn range(subnet: &str, start: Option<&str>, end: Option<&str>) -> Result<Range, Error> {
        let ip = |text: &str| text.parse().unwrap();
        Range::new("ipam.ranges[0][0]", subnet.parse().unwrap(), start.map(ip), end.map(ip), None)
    }

    fn set(subnets: &[&str]) -> RangeSet {
        let ranges = subnets.iter().map(|subnet| range(subnet, None, None).unwrap()).collect();
        RangeSet::new("ipam.ranges[0]", ranges).unwrap()
    }

    #[test]
    fn a_whole_subnet_leaves_out_network_broadcast_and_gateway() {
        let set = set(&["10.1.2.0/29"]);
        let assigned: Vec<_> = set.candidates(None).map(|(ip, _)| ip.to_string()).collect();
        assert_eq!(assigned, ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        assert_eq!(set.size(), 5);
    }

    #[test]
    fn the_highest_ipv6_address_is_a_host_address() {
        let set = set(&["fd00::/126"]);
        let assigned: Vec<_> = set.candidates(None).map(|(ip, _)| ip.to_string()).collect();
        assert_eq!(assigned, ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn the_address_behind_the_last_one_comes_first_and_the_last_one_last() {
        let set = set(&["10.1.2.0/29", "10.1.3.0/29"]);
        let last = "10.1.3.3".parse().unwrap();
        let assigned: Vec<_> = set.candidates(Some(last)).map(|(ip, _)| ip.to_string()).collect();
        assert_eq!(assigned.first().map(String::as_str), Some("10.1.3.4"));
        assert_eq!(assigned.last().map(String::as_str), Some("10.1.3.3"));
        assert_eq!(assigned.len(), 10);
    }

    #[test]
    fn a_last_address_of_another_subnet_is_no_start() {
        let set = set(&["10.1.2.0/29"]);
        let last = "192.0.2.1".parse().unwrap();
        assert_eq!(set.candidates(Some(last)).next().unwrap().0.to_string(), "10.1.2.2");
    }

    #[test]
    fn wrong_ranges_are_refused_and_the_key_is_named() {
        for (subnet, start, end, key) in [
            ("10.1.2.3/24", None, None, "subnet"),
            ("10.1.2.0/31", None, None, "subnet"),
            ("fd00::/127", None, None, "subnet"),
            ("10.1.2.0/24", Some("10.1.3.1"), None, "rangeStart"),
            ("10.1.2.0/24", Some("10.1.2.0"), None, "rangeStart"),
            ("10.1.2.0/24", None, Some("10.1.2.255"), "rangeEnd"),
            ("10.1.2.0/24", None, Some("fd00::1"), "rangeEnd"),
            ("10.1.2.0/24", Some("10.1.2.9"), Some("10.1.2.8"), "rangeEnd"),
        ] {
            let error = range(subnet, start, end).unwrap_err();
            assert_eq!(error.code(), 7);
            let wanted = format!("ipam.ranges[0][0].{key}");
            assert!(error.to_string().contains(&wanted), "{subnet}: {error}");
        }
    }

    #[test]
    fn ranges_of_a_set_share_a_family_and_no_address() {
        let ranges = |subnets: [&str; 2]| {
            let ranges = subnets.map(|subnet| range(subnet, None, None).unwrap()).to_vec();
            RangeSet::new("ipam.ranges[0]", ranges)
        };
        assert!(ranges(["10.1.0.0/16", "fd00::/64"]).unwrap_err().to_string().contains("mixes"));
        assert!(
            ranges(["10.1.0.0/16", "10.1.2.0/24"]).unwrap_err().to_string().contains("overlaps")
        );
        assert!(RangeSet::new("ipam.ranges[0]", Vec::new()).is_err());
    }

    #[test]
    fn half_of_the_ipv6_space_is_no_overflow() {
        let set = set(&["8000::/1"]);
        assert!(set.size() > 0);
        assert_eq!(set.candidates(None).next().unwrap().0.to_string(), "8000::2");
        let end: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(set.candidates(Some(end)).next().unwrap().0.to_string(), "8000::2");
        assert_eq!(range("::/0", None, None).unwrap_err().code(), 7);
    }

    prop_compose! {
        /// A valid IPv4 range of at most 1,000 addresses, with any gateway.
        fn any_range()(
            // Unicast: neither loopback nor multicast.
            base in 0x8000_0000_u32..0xe000_0000,
            prefix in 22_u8..=30,
            picks in prop::array::uniform3(any::<prop::sample::Index>()),
        ) -> Range {
            let subnet = IpNetwork::new(Ipv4Addr::from_bits(base).into(), prefix).unwrap();
            let subnet = IpNetwork::new(subnet.network(), prefix).unwrap();
            let hosts = (1_usize << (32 - prefix)) - 2;
            let [a, b, gateway] = picks.map(|pick| number(subnet.ip()) + 1 + pick.index(hosts) as u128);
            let ip = |value| Some(address(subnet, value));
            Range::new("range", subnet, ip(a.min(b)), ip(a.max(b)), ip(gateway)).unwrap()
        }
    }

    proptest! {
        #[test]
        fn every_address_comes_once_and_none_is_network_broadcast_or_gateway(
            range in any_range(),
            last in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let subnet = range.subnet();
            let gateway = range.gateway();
            let set = RangeSet::new("set", vec![range.clone()]).unwrap();
            let last = last.map(|pick| {
                let offset = pick.index(usize::try_from(range.size()).unwrap());
                address(subnet, range.first + offset as u128)
            });
            let assigned: Vec<IpAddr> = set.candidates(last).map(|(ip, _)| ip).collect();
            let distinct: HashSet<_> = assigned.iter().collect();
            prop_assert_eq!(distinct.len(), assigned.len());
            prop_assert_eq!(assigned.len() as u128, set.size());
            for ip in &assigned {
                prop_assert!(range.contains(*ip));
                prop_assert_ne!(*ip, gateway);
                prop_assert_ne!(*ip, subnet.network());
                prop_assert_ne!(*ip, subnet.broadcast());
            }
        }

        #[test]
        fn a_freed_address_is_assigned_after_all_that_are_free(
            range in any_range(),
            steps in 1_usize..200,
        ) {
            // One pod is added and deleted: each time the next address in order, never the same twice in a row.
            let set = RangeSet::new("set", vec![range]).unwrap();
            let size = usize::try_from(set.size()).unwrap();
            prop_assume!(size > 0);
            let mut last = None;
            let mut seen = Vec::new();
            for _ in 0..steps {
                let (ip, _) = set.candidates(last).next().unwrap();
                last = Some(ip);
                seen.push(ip);
            }
            for window in seen.windows(size.min(steps)) {
                let distinct: HashSet<_> = window.iter().collect();
                prop_assert_eq!(distinct.len(), window.len());
            }
        }
    }
}
