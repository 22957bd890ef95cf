//! Limits of the kernel that a node can grow into: how much is left of them, and what to set. Pure.
//!
//! **Ports of a bridge.** The kernel's limit is fixed (`BR_MAX_PORTS`).
//!
//! **The neighbour table.** Each family has one for the whole machine, that is, for all network
//! namespaces together, with thresholds that only the first namespace has. When `gc_thresh3` entries
//! are there and none can be given up, an address that is not in the table is not resolved any more.
//! Permanent entries, which the tunnel's are, do not count (kernel 5.0 and later), so a tunnel needs
//! no room for its thousands of peers. What counts are entries that the kernel resolves: the nodes
//! on the uplink's own network, which packets of a tunnel go to as well, and pods with their
//! gateway.

/// Ports that a bridge can have: `BR_MAX_PORTS` is 1024, and the number 0 is not used.
pub const BRIDGE_PORTS: usize = 1023;

/// A pod's own for its gateway, the gateway's for the pod, and as much for a pod next to it.
const ENTRIES_PER_POD: usize = 4;
/// For all that is not ours: routers, name servers, other programs' bridges.
const OTHER_ENTRIES: usize = 256;

/// How much room there is for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Enough,
    /// Nine tenths are taken.
    Little,
    /// All is taken.
    None,
}

/// The room on a bridge with so many ports.
pub fn room_on_bridge(ports: usize) -> Room {
    if ports >= BRIDGE_PORTS {
        Room::None
    } else if ports * 10 >= BRIDGE_PORTS * 9 {
        Room::Little
    } else {
        Room::Enough
    }
}

/// The entries of a family's neighbour table that a node needs room for: `peers` that it reaches
/// without a router, and its `pods` with an address of the family.
pub fn neighbours_needed(peers: usize, pods: usize) -> u32 {
    let needed = peers.saturating_add(pods * ENTRIES_PER_POD).saturating_add(OTHER_ENTRIES);
    u32::try_from(needed).unwrap_or(LARGEST)
}

/// The kernel keeps them as signed numbers.
const LARGEST: u32 = i32::MAX.unsigned_abs();

/// `gc_thresh1`, `2` and `3` of a neighbour table: below the first nothing is given up, above the
/// second more is after five seconds, and the third is the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thresholds(pub [u32; 3]);

impl Thresholds {
    /// The limit.
    pub fn limit(self) -> u32 {
        self.0[2]
    }

    /// These thresholds, all made larger by the same power of two, so that there is room for
    /// `needed` entries; none if there is. In powers of two, because a need that grows by one pod
    /// at a time should not lead to a change each time.
    pub fn raised_for(self, needed: u32) -> Option<Self> {
        let limit = self.limit().max(1);
        if self.limit() >= needed {
            return None;
        }
        let factor = needed.div_ceil(limit).checked_next_power_of_two().unwrap_or(LARGEST);
        Some(Self(self.0.map(|threshold| threshold.max(1).saturating_mul(factor).min(LARGEST))))
    }

    /// The kernel parameters of a family and their values, in the order in which they can be
    /// written: none is ever above a later one.
    pub fn settings(self, ipv4: bool) -> impl Iterator<Item = (String, u32)> {
        (1..=3).zip(self.0).rev().map(move |(number, value)| (key(ipv4, number), value))
    }
}

/// The kernel parameters with the thresholds of a family.
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

    /// As the kernel has them at first.
    const DEFAULT: Thresholds = Thresholds([128, 512, 1024]);

    #[test]
    fn a_bridge_is_scarce_of_ports_from_nine_tenths_on() {
        let rooms = [0, 920, 921, 1022, 1023, 1024].map(room_on_bridge);
        let expected =
            [Room::Enough, Room::Enough, Room::Little, Room::Little, Room::None, Room::None];
        assert_eq!(rooms, expected);
    }

    #[test]
    fn a_node_of_usual_size_needs_no_more_than_there_is() {
        assert_eq!(DEFAULT.raised_for(neighbours_needed(300, 110)), None);
    }

    #[test]
    fn a_node_with_many_neighbours_or_pods_needs_more() {
        let raised = |peers, pods| DEFAULT.raised_for(neighbours_needed(peers, pods));
        assert_eq!(raised(1000, 110), Some(Thresholds([256, 1024, 2048])));
        assert_eq!(raised(0, 500), Some(Thresholds([512, 2048, 4096])));
        assert_eq!(raised(5000, 250), Some(Thresholds([1024, 4096, 8192])));
    }

    #[test]
    fn what_an_administrator_has_raised_is_not_lowered() {
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
