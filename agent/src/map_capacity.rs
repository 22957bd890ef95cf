//! The capacities of the data path's maps, in entries. Pure.
//!
//! Maps of Services take memory for their entries, and a little for their capacity. LRU maps take all
//! of their memory when they are created. Of these, the maps of flows are the largest: some 0.5 KiB
//! for each entry over their four maps. Their capacity follows from the machine's memory.

use std::str::FromStr;

use weir_datapath::common::map::{self, Map, capacity};
use weir_datapath::{Capacities, MapRoom};

/// Flows may take 1/128 of the machine's memory.
const FLOWS_SHARE: u64 = 128;
/// Memory of an entry in all four maps of flows, in bytes.
const FLOW_BYTES: u64 = 512;
/// The smallest and the largest capacity: with less, active flows are evicted, and more has no use.
const FLOWS: (u64, u64) = (65_536, 524_288);
/// Machines with less memory than this have a smaller capacity for Services. In bytes.
const SMALL: u64 = 4 << 30;

/// Maps with the same capacity: one map, or one of each family and what goes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    name: &'static str,
    /// Its name in earlier releases.
    former: Option<&'static str>,
    maps: &'static [Map],
}

const GROUPS: [Group; 10] = [
    Group { name: "services", former: None, maps: &[map::SERVICES_V4, map::SERVICES_V6] },
    Group { name: "slots", former: None, maps: &[map::SLOTS] },
    Group { name: "backends", former: None, maps: &[map::BACKENDS_V4, map::BACKENDS_V6] },
    Group { name: "flows-tcp", former: None, maps: &[map::FLOWS_TCP_V4, map::FLOWS_TCP_V6] },
    Group {
        name: "flows-datagram",
        former: Some("flows-any"),
        maps: &[map::FLOWS_DGRAM_V4, map::FLOWS_DGRAM_V6],
    },
    Group { name: "affinity", former: None, maps: &[map::AFFINITY_V4, map::AFFINITY_V6] },
    Group {
        name: "endpoints",
        former: None,
        maps: &[map::ENDPOINTS_V4, map::ENDPOINTS_V6, map::ROUTERS],
    },
    Group { name: "routes", former: Some("cluster"), maps: &[map::ROUTES_V4, map::ROUTES_V6] },
    Group { name: "fragments", former: None, maps: &[map::FRAGMENTS_V4, map::FRAGMENTS_V6] },
    Group { name: "sockets", former: None, maps: &[map::SOCKETS_V4, map::SOCKETS_V6] },
];

/// A capacity of the option `--map-capacity`: `NAME=ENTRIES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityChoice {
    group: Group,
    entries: u32,
}

/// Why a capacity of the option cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The text is not of the form `NAME=ENTRIES`.
    #[error("it must have the form NAME=ENTRIES, as in flows-tcp=131072")]
    Form,
    /// No maps have this name.
    #[error("there are no maps {0:?}; there are {names}", names = GROUPS.map(|group| group.name).join(", "))]
    Name(String),
    /// The number is too small or too large.
    #[error("{0} is not between 64 and 16777216")]
    Entries(String),
}

impl FromStr for CapacityChoice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let (name, entries) = text.split_once('=').ok_or(ChoiceError::Form)?;
        let group =
            GROUPS.into_iter().find(|group| group.name == name || group.former == Some(name));
        let group = group.ok_or_else(|| ChoiceError::Name(name.to_owned()))?;
        let number = entries.parse().ok().filter(|entries| (64..=16_777_216).contains(entries));
        let entries = number.ok_or_else(|| ChoiceError::Entries(entries.to_owned()))?;
        Ok(Self { group, entries })
    }
}

/// The capacities of all maps on a machine with `memory` bytes.
pub fn wanted(memory: u64, chosen: &[CapacityChoice]) -> Vec<(Map, u32)> {
    let of_group = |group: Group| {
        let choice = chosen.iter().rev().find(|chosen| chosen.group == group);
        let entries = choice.map_or_else(|| default(group.name, memory), |chosen| chosen.entries);
        // A pod has two addresses of IPv6: its own, and the link-local one.
        let of = move |map: Map| if map == map::ENDPOINTS_V6 { entries * 2 } else { entries };
        group.maps.iter().map(move |map| (*map, of(*map)))
    };
    GROUPS.into_iter().flat_map(of_group).collect()
}

fn default(group: &str, memory: u64) -> u32 {
    match group {
        // Two frontends for each of 50,000 Services with one port: one for the port, and one that
        // rejects all other ports.
        "services" if memory >= SMALL => 262_144,
        "services" => capacity::SERVICES,
        // Twice the slots in use at a time: a change writes a new range.
        "slots" if memory >= SMALL => 1_048_576,
        "slots" => capacity::SLOTS,
        // Ten for each of 50,000 Services.
        "backends" if memory >= SMALL => 524_288,
        "backends" => capacity::BACKENDS,
        "flows-tcp" | "flows-datagram" => flows(memory),
        "affinity" => capacity::AFFINITY,
        "endpoints" => capacity::ENDPOINTS,
        "routes" => capacity::ROUTES,
        "fragments" => capacity::FRAGMENTS,
        _ => capacity::SOCKETS,
    }
}

/// A power of two, because the kernel rounds the size of a hash table up to one.
fn flows(memory: u64) -> u32 {
    let affordable = (memory / FLOWS_SHARE / FLOW_BYTES).clamp(FLOWS.0, FLOWS.1);
    1 << affordable.ilog2()
}

/// The capacities in the loader's form.
pub fn capacities(wanted: &[(Map, u32)]) -> Capacities {
    wanted.iter().fold(Capacities::default(), |all, (map, entries)| all.with(*map, *entries))
}

/// The existing maps whose capacity differs from the wanted one, each with the wanted one.
pub fn kept(wanted: &[(Map, u32)], found: &[MapRoom]) -> Vec<(MapRoom, u32)> {
    let of_map = |sized: &MapRoom| {
        let (_, entries) = wanted.iter().find(|(map, _)| *map == sized.map)?;
        (*entries != sized.entries).then_some((*sized, *entries))
    };
    found.iter().filter_map(of_map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(map: Map, memory: u64, chosen: &[CapacityChoice]) -> u32 {
        let found = wanted(memory, chosen).into_iter().find(|(found, _)| *found == map);
        found.unwrap().1
    }

    #[test]
    fn fifty_thousand_services_fit_and_fewer_on_a_small_machine() {
        assert!(of(map::SERVICES_V6, 8 << 30, &[]) >= 2 * 50_000);
        assert!(of(map::BACKENDS_V4, 8 << 30, &[]) >= 10 * 50_000);
        assert!(of(map::SLOTS, 8 << 30, &[]) >= 2 * 10 * 50_000);
        assert_eq!(of(map::SERVICES_V4, 1 << 30, &[]), capacity::SERVICES);
    }

    #[test]
    fn the_capacity_for_flows_follows_from_the_memory_within_limits() {
        let flows = |gibibytes: u64| of(map::FLOWS_TCP_V4, gibibytes << 30, &[]);
        let wanted = [(1, 65_536), (4, 65_536), (8, 131_072), (24, 262_144), (512, 524_288)];
        for (gibibytes, entries) in wanted {
            assert_eq!(flows(gibibytes), entries, "{gibibytes} GiB");
        }
    }

    #[test]
    fn the_last_capacity_of_a_name_applies_to_both_families() {
        let chosen = ["sockets=100", "sockets=200"].map(|text| text.parse().unwrap());
        assert_eq!(of(map::SOCKETS_V4, 1 << 30, &chosen), 200);
        assert_eq!(of(map::SOCKETS_V6, 1 << 30, &chosen), 200);
        for invalid in ["sockets", "nothing=64", "slots=63", "slots=many", "slots=16777217"] {
            assert!(CapacityChoice::from_str(invalid).is_err(), "{invalid}");
        }
        let former = ["flows-any=64", "cluster=128"].map(|text| text.parse().unwrap());
        assert_eq!(of(map::FLOWS_DGRAM_V6, 1 << 30, &former), 64, "former names are accepted");
        assert_eq!(of(map::ROUTES_V4, 1 << 30, &former), 128);
        let known = CapacityChoice::from_str("flow=64").unwrap_err().to_string();
        assert!(known.contains("flows-tcp"), "{known}");
    }

    #[test]
    fn the_pods_of_a_node_fit_with_their_link_local_addresses() {
        let chosen = ["endpoints=100"].map(|text| text.parse().unwrap());
        assert_eq!(of(map::ENDPOINTS_V4, 1 << 30, &chosen), 100);
        assert_eq!(of(map::ENDPOINTS_V6, 1 << 30, &chosen), 200);
    }

    #[test]
    fn every_map_of_variable_capacity_is_in_one_group() {
        let all: Vec<Map> = wanted(1 << 30, &[]).into_iter().map(|(map, _)| map).collect();
        for known in map::ALL {
            let count = all.iter().filter(|map| *map == known).count();
            let follows = [
                // Their capacity is that of flows.
                map::BRIEF_TCP_V4,
                map::BRIEF_TCP_V6,
                map::BRIEF_DGRAM_V4,
                map::BRIEF_DGRAM_V6,
            ];
            let is_fixed = [map::COUNTERS, map::CONFIG, map::CURSORS].contains(known)
                || follows.contains(known);
            assert_eq!(count, usize::from(!is_fixed), "{}", known.name);
        }
    }

    #[test]
    fn an_existing_map_with_another_capacity_is_reported() {
        let found = [(map::SLOTS, 64), (map::SOCKETS_V4, 65_536), (map::CONFIG, 1)]
            .map(|(map, entries)| MapRoom { map, entries });
        let kept = kept(&[(map::SLOTS, 128), (map::SOCKETS_V4, 65_536)], &found);
        assert_eq!(kept, [(found[0], 128)]);
    }
}
