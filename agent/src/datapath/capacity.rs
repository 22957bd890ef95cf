//! How many entries the maps of the data path have room for. Pure.
//!
//! Maps of Services take memory for what is in them, and a little for the room. Those that forget the
//! oldest take all of their memory when they are made: flows above all, some 0.5 KiB for each entry
//! over their four maps. These are sized by the machine's memory.

use std::str::FromStr;

use weir_datapath::common::map::{self, Map, capacity};
use weir_datapath::{Capacities, MapRoom};

/// Of the machine's memory, flows may take this part.
const FLOWS_SHARE: u64 = 128;
/// What an entry of all four maps of flows takes, in bytes.
const FLOW_BYTES: u64 = 512;
/// Flows are forgotten early with less, and more are of use to nobody.
const FLOWS: (u64, u64) = (65_536, 524_288);
/// Machines with less memory than this have room for fewer Services.
const SMALL: u64 = 4 << 30;

/// Maps that are sized together: one, or one of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    name: &'static str,
    /// What earlier releases call it.
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
    Group { name: "endpoints", former: None, maps: &[map::ENDPOINTS_V4, map::ENDPOINTS_V6] },
    Group { name: "routes", former: Some("cluster"), maps: &[map::ROUTES_V4, map::ROUTES_V6] },
    Group { name: "fragments", former: None, maps: &[map::FRAGMENTS_V4, map::FRAGMENTS_V6] },
    Group { name: "sockets", former: None, maps: &[map::SOCKETS_V4, map::SOCKETS_V6] },
];

/// A capacity that somebody has chosen: `NAME=N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    group: Group,
    entries: u32,
}

/// Why a choice is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// It has not the form.
    #[error("it is not of the form NAME=ENTRIES, as flows-tcp=131072 is")]
    Form,
    /// There are no such maps.
    #[error("there are no maps {0:?}; there are {names}", names = GROUPS.map(|group| group.name).join(", "))]
    Name(String),
    /// It is too many or too few.
    #[error("{0} is not between 64 and 16777216")]
    Entries(String),
}

impl FromStr for Chosen {
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

/// The capacities on a machine with so many bytes of memory, of all maps.
pub fn wanted(memory: u64, chosen: &[Chosen]) -> Vec<(Map, u32)> {
    let of_group = |group: Group| {
        let choice = chosen.iter().rev().find(|chosen| chosen.group == group);
        let entries = choice.map_or_else(|| default(group.name, memory), |chosen| chosen.entries);
        group.maps.iter().map(move |map| (*map, entries))
    };
    GROUPS.into_iter().flat_map(of_group).collect()
}

fn default(group: &str, memory: u64) -> u32 {
    match group {
        // Two frontends for each of 50,000 Services with one port: a port, and the rest.
        "services" if memory >= SMALL => 262_144,
        "services" => capacity::SERVICES,
        // Twice what is in use at a time: a change writes a fresh range.
        "slots" if memory >= SMALL => 1_048_576,
        "slots" => capacity::SLOTS,
        // Ten for each of them.
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

/// A power of two: so are the kernel's tables, which would be larger than what is in them.
fn flows(memory: u64) -> u32 {
    let affordable = (memory / FLOWS_SHARE / FLOW_BYTES).clamp(FLOWS.0, FLOWS.1);
    1 << affordable.ilog2()
}

/// The same for the loader.
pub fn capacities(wanted: &[(Map, u32)]) -> Capacities {
    wanted.iter().fold(Capacities::default(), |all, (map, entries)| all.with(*map, *entries))
}

/// Maps that were there before and have other room than is wanted, each with that.
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

    fn of(map: Map, memory: u64, chosen: &[Chosen]) -> u32 {
        let found = wanted(memory, chosen).into_iter().find(|(found, _)| *found == map);
        found.unwrap().1
    }

    #[test]
    fn fifty_thousand_services_fit_and_a_small_machine_has_room_for_fewer() {
        assert!(of(map::SERVICES_V6, 8 << 30, &[]) >= 2 * 50_000);
        assert!(of(map::BACKENDS_V4, 8 << 30, &[]) >= 10 * 50_000);
        assert!(of(map::SLOTS, 8 << 30, &[]) >= 2 * 10 * 50_000);
        assert_eq!(of(map::SERVICES_V4, 1 << 30, &[]), capacity::SERVICES);
    }

    #[test]
    fn flows_take_a_part_of_the_memory_within_limits() {
        let flows = |gibibytes: u64| of(map::FLOWS_TCP_V4, gibibytes << 30, &[]);
        let wanted = [(1, 65_536), (4, 65_536), (8, 131_072), (24, 262_144), (512, 524_288)];
        for (gibibytes, entries) in wanted {
            assert_eq!(flows(gibibytes), entries, "{gibibytes} GiB");
        }
    }

    #[test]
    fn the_last_choice_of_a_name_counts_and_is_for_both_families() {
        let chosen = ["sockets=100", "sockets=200"].map(|text| text.parse().unwrap());
        assert_eq!(of(map::SOCKETS_V4, 1 << 30, &chosen), 200);
        assert_eq!(of(map::SOCKETS_V6, 1 << 30, &chosen), 200);
        for wrong in ["sockets", "nothing=64", "slots=63", "slots=many", "slots=16777217"] {
            assert!(Chosen::from_str(wrong).is_err(), "{wrong}");
        }
        let former = ["flows-any=64", "cluster=128"].map(|text| text.parse().unwrap());
        assert_eq!(
            of(map::FLOWS_DGRAM_V6, 1 << 30, &former),
            64,
            "the former names are understood"
        );
        assert_eq!(of(map::ROUTES_V4, 1 << 30, &former), 128);
        let known = Chosen::from_str("flow=64").unwrap_err().to_string();
        assert!(known.contains("flows-tcp"), "{known}");
    }

    #[test]
    fn every_map_with_entries_that_come_and_go_is_in_one_group() {
        let all: Vec<Map> = wanted(1 << 30, &[]).into_iter().map(|(map, _)| map).collect();
        for known in map::ALL {
            let count = all.iter().filter(|map| *map == known).count();
            let is_fixed = [map::COUNTERS, map::CONFIG].contains(known);
            assert_eq!(count, usize::from(!is_fixed), "{}", known.name);
        }
    }

    #[test]
    fn a_map_that_was_there_before_is_told_if_its_room_is_another() {
        let found = [(map::SLOTS, 64), (map::SOCKETS_V4, 65_536), (map::CONFIG, 1)]
            .map(|(map, entries)| MapRoom { map, entries });
        let kept = kept(&[(map::SLOTS, 128), (map::SOCKETS_V4, 65_536)], &found);
        assert_eq!(kept, [(found[0], 128)]);
    }
}
