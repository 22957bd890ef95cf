//! Limits of the kernel that a growing node can reach: what is left of them, and which values the
//! node needs. Pure.
//!
//! **Ports of a bridge.** The kernel's limit is fixed (`BR_MAX_PORTS`).
//!
//! **The neighbour table.** Each family has one table for the whole machine, that is, for all network
//! namespaces together. Its thresholds exist in the initial namespace only. When the table has
//! `gc_thresh3` entries and none can be removed, the kernel cannot resolve further addresses.
//! Permanent entries do not count (kernel 5.0 and later). The tunnel's entries are permanent, so they
//! need no room. The entries that the kernel resolves do count: the nodes on the uplink's network,
//! which the outer packets of a tunnel go to as well, and pods with their gateway.

/// How many ports a bridge can have: `BR_MAX_PORTS` is 1024, and the port number 0 is not used.
pub const BRIDGE_PORTS: usize = 1023;

/// The pod's entry for its gateway, the gateway's entry for the pod, and as many for another pod of
/// the node.
const ENTRIES_PER_POD: usize = 4;
/// Entries of others: routers, name servers, other programs' bridges.
const OTHER_ENTRIES: usize = 256;

/// How many ports are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortsLeft {
    /// Less than nine tenths are in use.
    Enough,
    /// At least nine tenths are in use.
    Few,
    /// No port is left.
    None,
}

/// How many ports are left on a bridge that has `ports` ports.
pub fn ports_left(ports: usize) -> PortsLeft {
    if ports >= BRIDGE_PORTS {
        PortsLeft::None
    } else if ports * 10 >= BRIDGE_PORTS * 9 {
        PortsLeft::Few
    } else {
        PortsLeft::Enough
    }
}

/// How many entries a family's neighbour table needs room for: `peers` are the nodes that are reached
/// without a router, `pods` the node's pods with an address of the family.
pub fn neighbours_needed(peers: usize, pods: usize) -> u32 {
    let needed = peers.saturating_add(pods * ENTRIES_PER_POD).saturating_add(OTHER_ENTRIES);
    u32::try_from(needed).unwrap_or(LARGEST)
}

/// The kernel stores thresholds as signed numbers.
const LARGEST: u32 = i32::MAX.unsigned_abs();

/// `gc_thresh1`, `2` and `3` of a neighbour table: below the first no entry is removed, above the
/// second entries are removed after five seconds, and the third is the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thresholds(pub [u32; 3]);

impl Thresholds {
    /// The limit.
    pub fn limit(self) -> u32 {
        self.0[2]
    }

    /// These thresholds, all multiplied by the same power of two, so that `needed` entries fit.
    /// `None` if they fit already. With powers of two, not every further pod leads to a change.
    pub fn raised_for(self, needed: u32) -> Option<Self> {
        let limit = self.limit().max(1);
        if self.limit() >= needed {
            return None;
        }
        let factor = needed.div_ceil(limit).checked_next_power_of_two().unwrap_or(LARGEST);
        Some(Self(self.0.map(|threshold| threshold.max(1).saturating_mul(factor).min(LARGEST))))
    }

    /// The kernel parameters of a family and their values. They are in an order of writing in which
    /// no threshold ever exceeds a higher one.
    pub fn settings(self, ipv4: bool) -> impl Iterator<Item = (String, u32)> {
        (1..=3).zip(self.0).rev().map(move |(number, value)| (key(ipv4, number), value))
    }
}

/// The kernel parameters that hold the thresholds of a family.
pub fn keys(ipv4: bool) -> [String; 3] {
    [1, 2, 3].map(|number| key(ipv4, number))
}

fn key(ipv4: bool, number: u8) -> String {
    let family = if ipv4 { "ipv4" } else { "ipv6" };
    format!("net/{family}/neigh/default/gc_thresh{number}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's defaults.
    const DEFAULT: Thresholds = Thresholds([128, 512, 1024]);

    #[test]
    fn ports_are_scarce_from_nine_tenths_on() {
        let left = [0, 920, 921, 1022, 1023, 1024].map(ports_left);
        let expected = [
            PortsLeft::Enough,
            PortsLeft::Enough,
            PortsLeft::Few,
            PortsLeft::Few,
            PortsLeft::None,
            PortsLeft::None,
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn the_defaults_are_enough_for_a_node_of_usual_size() {
        assert_eq!(DEFAULT.raised_for(neighbours_needed(300, 110)), None);
    }

    #[test]
    fn a_node_with_many_neighbours_or_pods_needs_higher_thresholds() {
        let raised = |peers, pods| DEFAULT.raised_for(neighbours_needed(peers, pods));
        assert_eq!(raised(1000, 110), Some(Thresholds([256, 1024, 2048])));
        assert_eq!(raised(0, 500), Some(Thresholds([512, 2048, 4096])));
        assert_eq!(raised(5000, 250), Some(Thresholds([1024, 4096, 8192])));
    }

    #[test]
    fn thresholds_that_an_administrator_has_raised_are_not_lowered() {
        assert_eq!(Thresholds([80_000, 90_000, 100_000]).raised_for(10_000), None);
    }

    #[test]
    fn the_limit_is_written_first() {
        let settings: Vec<_> = DEFAULT.settings(true).collect();
        assert_eq!(settings[0], ("net/ipv4/neigh/default/gc_thresh3".to_owned(), 1024));
        assert_eq!(settings[2], ("net/ipv4/neigh/default/gc_thresh1".to_owned(), 128));
        assert!(keys(false).iter().all(|key| key.starts_with("net/ipv6/")));
    }

    proptest! {
        #[test]
        fn raised_thresholds_are_enough_and_in_order(
            mut thresholds in any::<[u32; 3]>().prop_map(|all| all.map(|n| n & LARGEST)),
            needed in 0..=LARGEST,
        ) {
            thresholds.sort_unstable();
            let before = Thresholds(thresholds);
            let after = before.raised_for(needed).unwrap_or(before);
            prop_assert!(after.limit() >= needed);
            prop_assert!(after.0.is_sorted());
            prop_assert!(after.0.iter().zip(before.0).all(|(after, before)| *after >= before));
            prop_assert_eq!(after.raised_for(needed), None);
        }
    }
}
