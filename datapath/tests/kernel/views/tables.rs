//! Programs with tables of their own.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::{Context, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use weir_datapath::common::{
    Affinity, AffinityKey, Backend, Config, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Reason,
    Route, Service, ServiceKey, V4, V6, map,
};
use weir_datapath::maps::Family;

use super::packet::Sent;
use super::scenario::Scenario;

/// The object that the library loads.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf"));

/// Room for what a scenario has, many times over: nothing is forgotten.
const ROOM: u32 = 1024;

/// Length of `struct __sk_buff`, and where some of its fields are.
const CONTEXT: usize = 192;
const MARK: usize = 8;
const IFINDEX: usize = 40;
const GSO_SIZE: usize = 176;

/// The map of fragments of a family.
pub(super) trait Fragments: Family {
    const FRAGMENTS: map::Map;
}

impl Fragments for V4 {
    const FRAGMENTS: map::Map = map::FRAGMENTS_V4;
}

impl Fragments for V6 {
    const FRAGMENTS: map::Map = map::FRAGMENTS_V6;
}

/// What one view makes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What the kernel is told to do with it.
    pub(super) verdict: u32,
    pub(super) mark: u32,
    pub(super) packet: Vec<u8>,
}

/// What programs write into their maps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<A: Family> {
    flows: BTreeMap<FlowKey<A>, Flow<A>>,
    affinity: Vec<(AffinityKey<A>, Affinity)>,
    fragments: Vec<(FragmentKey<A>, Fragment)>,
}

type Hash<K, V> = HashMap<MapData, K, V>;

/// The programs, loaded to decide in one way, and the maps of one family.
pub(super) struct Tables<A: Fragments> {
    object: Ebpf,
    config: Array<MapData, Config>,
    slots: Array<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    services: Hash<ServiceKey<A>, Service>,
    backends: Hash<u32, Backend<A>>,
    endpoints: Hash<A, Endpoint>,
    routes: LpmTrie<MapData, A, Route<A>>,
    flows: [Hash<FlowKey<A>, Flow<A>>; 2],
    affinity: Hash<AffinityKey<A>, Affinity>,
    fragments: Hash<FragmentKey<A>, Fragment>,
}

impl<A: Fragments> Tables<A> {
    /// Loads the programs. `random` is what they are given for each random number.
    pub(super) fn load(full_view_only: bool, random: u32) -> Result<Self> {
        let full_view_only = u8::from(full_view_only);
        let mut loader = EbpfLoader::new();
        loader.override_global("FULL_VIEW_ONLY", &full_view_only, true);
        loader.override_global("FIXED_RANDOM", &random, true);
        loader.override_global(aya_log::LEVEL, &0_u8, true);
        let fixed = [map::COUNTERS, map::CONFIG, map::CURSORS];
        for map in map::ALL.iter().filter(|map| !fixed.contains(map)) {
            loader.map_max_entries(map.name, ROOM);
        }
        for ring in [A::BRIEF_TCP, A::BRIEF_DGRAM] {
            // It never comes round: a flow of another scenario may have the same key.
            loader.map_max_entries(ring.name, 1 << 17);
        }
        let mut object = loader.load(OBJECT)?;
        for name in ["from_pod", "to_pod", "from_overlay"] {
            let program: &mut SchedClassifier =
                object.program_mut(name).context(name)?.try_into()?;
            program.load()?;
        }
        let mut take = |map: map::Map| object.take_map(map.name).context(map.name);
        Ok(Self {
            config: take(map::CONFIG)?.try_into()?,
            slots: take(map::SLOTS)?.try_into()?,
            counters: take(map::COUNTERS)?.try_into()?,
            services: take(A::SERVICES)?.try_into()?,
            backends: take(A::BACKENDS)?.try_into()?,
            endpoints: take(A::ENDPOINTS)?.try_into()?,
            routes: take(A::ROUTES)?.try_into()?,
            flows: [take(A::FLOWS_TCP)?.try_into()?, take(A::FLOWS_DGRAM)?.try_into()?],
            affinity: take(A::AFFINITY)?.try_into()?,
            fragments: take(A::FRAGMENTS)?.try_into()?,
            object,
        })
    }

    /// Makes the tables those of a scenario.
    pub(super) fn set(&mut self, scenario: &Scenario<A>) -> Result<()> {
        self.config.set(0, scenario.config, 0)?;
        for (index, id) in (0..).zip(&scenario.slots) {
            self.slots.set(index, id, 0)?;
        }
        refill(&mut self.services, &scenario.services)?;
        refill(&mut self.backends, &scenario.backends)?;
        refill(&mut self.endpoints, &scenario.endpoints)?;
        let [tcp, other] = &mut self.flows;
        let (of_tcp, of_others): (Vec<_>, Vec<_>) =
            scenario.flows.iter().copied().partition(|(key, _)| key.protocol == 6);
        refill(tcp, &of_tcp)?;
        refill(other, &of_others)?;
        refill(&mut self.affinity, &scenario.affinity)?;
        refill(&mut self.fragments, &scenario.fragments)?;
        let old: Vec<_> = self.routes.keys().collect::<Result<_, _>>()?;
        for key in old {
            self.routes.remove(&key)?;
        }
        for (bits, prefix, route) in &scenario.routes {
            self.routes.insert(&Key::new(*bits, *prefix), route, 0)?;
        }
        Ok(())
    }

    /// Runs a hook's program on a packet.
    pub(super) fn run(&self, sent: &Sent) -> Result<Outcome> {
        let mut context = [0; CONTEXT];
        for (offset, value) in [(IFINDEX, sent.ifindex), (GSO_SIZE, sent.gso_size)] {
            context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let (mut packet, mut context_out) = (vec![0; 1024], [0; CONTEXT]);
        let options = TestRunOptions {
            data_in: Some(&sent.frame),
            data_out: Some(&mut packet),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::default()
        };
        let program: &SchedClassifier =
            self.object.program(sent.hook).context(sent.hook)?.try_into()?;
        let result = program.test_run(options)?;
        packet.truncate(usize::try_from(result.data_size_out)?);
        let mark = u32::from_ne_bytes(context_out[MARK..MARK + 4].try_into()?);
        Ok(Outcome { verdict: result.return_value, mark, packet })
    }

    /// What the maps hold now.
    pub(super) fn written(&self) -> Result<Written<A>> {
        let [tcp, other] = &self.flows;
        let flows = tcp.iter().chain(other.iter()).collect::<Result<_, _>>()?;
        Ok(Written {
            flows,
            affinity: entries(&self.affinity)?,
            fragments: entries(&self.fragments)?,
        })
    }

    /// The counters, all CPUs together.
    pub(super) fn counters(&self) -> Result<BTreeMap<&'static str, u64>> {
        let count = |reason: &Reason| {
            let values = self.counters.get(&(*reason as u32), 0)?;
            Ok((reason.name(), values.iter().sum()))
        };
        Reason::ALL.iter().map(count).collect()
    }
}

fn refill<K: Pod, V: Pod>(map: &mut Hash<K, V>, entries: &[(K, V)]) -> Result<()> {
    let old: Vec<_> = map.keys().collect::<Result<_, _>>()?;
    for key in old {
        map.remove(&key)?;
    }
    for (key, value) in entries {
        map.insert(key, value, 0)?;
    }
    Ok(())
}

fn entries<K: Pod + Debug, V: Pod + Debug>(map: &Hash<K, V>) -> Result<Vec<(K, V)>> {
    let mut entries: Vec<_> = map.iter().collect::<Result<_, _>>()?;
    entries.sort_by_cached_key(|entry| format!("{entry:?}"));
    Ok(entries)
}
