//! A node as an earlier release has left it: its pins, with programs that run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use weir_datapath::common::map::{self, Map};
use weir_datapath::common::{Flow, FlowKey, V4, V6};
use weir_datapath::maps::{Family, Table};
use weir_datapath::{Hook, Pins, SOCKET_PROGRAMS, TC_PROGRAMS};
use weir_tests::lab::Stack;

use crate::scene::Scene;

/// A release before this one.
pub(crate) struct Release {
    /// Its maps of flows, whose values had another layout: TCP by IPv4 and IPv6, then datagrams.
    pub flows: [(Map, Map); 4],
    /// The maps that this release only calls otherwise.
    pub renamed: &'static [(Map, Map)],
    /// What the names of its pinned programs end with.
    pub suffix: &'static str,
}

const TCP_V4: (Map, Map) = (Map { name: "FLOWS_TCP_V4", layout: 2 }, map::FLOWS_TCP_V4);
const TCP_V6: (Map, Map) = (Map { name: "FLOWS_TCP_V6", layout: 2 }, map::FLOWS_TCP_V6);

pub(crate) const FIRST: Release = Release {
    flows: [
        TCP_V4,
        TCP_V6,
        (Map { name: "FLOWS_ANY_V4", layout: 2 }, map::FLOWS_DGRAM_V4),
        (Map { name: "FLOWS_ANY_V6", layout: 2 }, map::FLOWS_DGRAM_V6),
    ],
    renamed: &[
        (Map { name: "CLUSTER_V4", layout: 1 }, map::ROUTES_V4),
        (Map { name: "CLUSTER_V6", layout: 1 }, map::ROUTES_V6),
        (Map { name: "SETTINGS", layout: 1 }, map::CONFIG),
    ],
    suffix: "",
};

/// The second release gave maps and programs the names that they have now.
pub(crate) const SECOND: Release = Release {
    flows: [
        TCP_V4,
        TCP_V6,
        (Map { name: "FLOWS_DGRAM_V4", layout: 3 }, map::FLOWS_DGRAM_V4),
        (Map { name: "FLOWS_DGRAM_V6", layout: 3 }, map::FLOWS_DGRAM_V6),
    ],
    renamed: &[],
    suffix: "-2",
};

/// The maps that neither of them had.
pub(crate) const NEW: [Map; 6] = [
    map::BRIEF_TCP_V4,
    map::BRIEF_TCP_V6,
    map::BRIEF_DGRAM_V4,
    map::BRIEF_DGRAM_V6,
    map::CURSORS,
    map::ROUTERS,
];

/// The maps whose pins are the same in all releases.
pub(crate) const SAME: [&str; 14] = [
    "AFFINITY_V4-1",
    "AFFINITY_V6-1",
    "BACKENDS_V4-1",
    "BACKENDS_V6-1",
    "COUNTERS-1",
    "ENDPOINTS_V4-1",
    "ENDPOINTS_V6-1",
    "FRAGMENTS_V4-1",
    "FRAGMENTS_V6-1",
    "SERVICES_V4-1",
    "SERVICES_V6-1",
    "SLOTS-1",
    "SOCKETS_V4-1",
    "SOCKETS_V6-1",
];

impl Release {
    /// Where it pins a program.
    pub(crate) fn program(&self, pins: &Pins, name: &str) -> PathBuf {
        pins.folder().join("programs").join(format!("{name}{}", self.suffix))
    }

    /// Gives everything that is pinned the names of this release. What is attached stays so.
    pub(crate) fn pin(&self, scene: &Scene) -> Result<()> {
        scene.node.run(|| {
            for (old, new) in self.renamed {
                rename(&scene.pins.map(*new), &scene.pins.map(*old))?;
            }
            let [tcp_v4, tcp_v6, dgram_v4, dgram_v6] = self.flows;
            for flows in [tcp_v4, dgram_v4] {
                pin_flows::<V4, 32>(&scene.pins, flows)?;
            }
            for flows in [tcp_v6, dgram_v6] {
                pin_flows::<V6, 44>(&scene.pins, flows)?;
            }
            for map in NEW {
                fs::remove_file(scene.pins.map(map))?;
            }
            for name in TC_PROGRAMS.iter().chain(SOCKET_PROGRAMS) {
                rename(&scene.pins.program(name), &self.program(&scene.pins, name))?;
            }
            Ok(())
        })
    }
}

/// Pins the flows of a map as both releases had them: with a tick and flags of 32 bits each at the end
/// of the value, and nothing else that is new.
fn pin_flows<A: Family, const LENGTH: usize>(pins: &Pins, (old, new): (Map, Map)) -> Result<()> {
    let entries = Table::<FlowKey<A>, Flow<A>>::open(pins, new)?.entries()?;
    let mut released = HashMap::<MapData, FlowKey<A>, [u8; LENGTH]>::create(64, 0)?;
    for (key, flow) in entries {
        let words = flow.address.words().map(u32::to_ne_bytes).concat();
        let known = Flow::<A>::REVERSE | Flow::<A>::MASQUERADED | Flow::<A>::FAST;
        let value = [
            words.get(..LENGTH - 28).context("an address")?,
            &flow.port.raw().to_ne_bytes(),
            &flow.nat_port.raw().to_ne_bytes(),
            &flow.backend.to_ne_bytes(),
            &flow.service.to_ne_bytes(),
            &flow.opening.to_ne_bytes(),
            &flow.last_seen.to_ne_bytes(),
            &u32::from(flow.last_seen_tick).to_ne_bytes(),
            &u32::from(flow.flags & known).to_ne_bytes(),
        ];
        let value: [u8; LENGTH] = value.concat().try_into().ok().context("a value")?;
        released.insert(key, value, 0)?;
    }
    aya::maps::IterableMap::map(&released).pin(pins.map(old))?;
    Ok(fs::remove_file(pins.map(new))?)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("rename {}", from.display()))
}

/// The names of everything that is pinned in one of the folders.
pub(crate) fn pinned(scene: &Scene, folder: &str) -> Result<Vec<String>> {
    scene.node.run(|| {
        let mut names = Vec::new();
        for entry in fs::read_dir(scene.pins.folder().join(folder))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    })
}

/// Everything that this release pins.
pub(crate) fn expected(scene: &Scene) -> (Vec<String>, Vec<String>) {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let programs = TC_PROGRAMS.iter().chain(SOCKET_PROGRAMS);
    let mut programs: Vec<_> = programs.filter_map(|it| name(scene.pins.program(it))).collect();
    let mut maps: Vec<_> = map::ALL.iter().filter_map(|map| name(scene.pins.map(*map))).collect();
    programs.sort();
    maps.sort();
    (programs, maps)
}

/// The indices of all links of the node.
pub(crate) fn links(scene: &Scene) -> Result<Vec<u32>> {
    let text = scene.node.sh("ip -j link show")?;
    let links: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let index = |link: &serde_json::Value| link.get("ifindex")?.as_u64()?.try_into().ok();
    Ok(links.iter().filter_map(index).collect())
}

/// The programs at the pods' veths, by their IDs.
pub(crate) fn attached(scene: &Scene) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for number in 0..scene.pods.len() {
        let ifindex = scene.ifindex(&format!("veth{number}"))?;
        for hook in Hook::POD {
            let program = scene.node.run(|| Ok(weir_datapath::list(ifindex, hook)?))?;
            found.push(program.context("no program is attached")?.program);
        }
    }
    Ok(found)
}
