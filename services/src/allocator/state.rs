//! The allocator's state.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopted::Adopted;
use super::allocation::Allocation;
use super::capacity::{Capacity, Use};
use super::ids::Ids;
use super::problem::Problem;
use crate::compile::{Compiled, Precedence};
use crate::slots::Slots;
use crate::tables::{Backend, BackendId, FrontendKey, Range, Tables};
use weir_model::{Family, ObjectName};

/// How long slots and backends that no frontend leads to are kept. The data path handles a packet
/// in far less time.
pub const GRACE: Duration = Duration::from_secs(1);

/// Gives Services their ids and slots, and returns the operations that change the maps.
#[derive(Debug)]
pub struct Allocator {
    pub(super) capacity: Capacity,
    pub(super) slots: Slots,
    pub(super) service_ids: Ids,
    pub(super) backend_ids: Ids,
    pub(super) wanted: HashMap<ObjectName, Arc<Compiled>>,
    pub(super) allocations: HashMap<ObjectName, Allocation>,
    /// The Service that has, or will get, each frontend.
    pub(super) owners: HashMap<FrontendKey, Precedence>,
    /// The Service that uses each range of slots.
    pub(super) users: BTreeMap<Range, ObjectName>,
    /// Removed backends and when they can be deleted, in the order of time.
    pub(super) retired: VecDeque<(Instant, BackendId, Backend)>,
    pub(super) used: BTreeMap<Family, Use>,
    /// The Services that did not fit.
    pub(super) failed: BTreeSet<ObjectName>,
    /// When frontends were deleted, if no failed Service has been tried since.
    pub(super) frontends_freed: Option<Instant>,
    pub(super) problems: BTreeMap<ObjectName, Problem>,
    /// The Service that the reserved window of slots is for.
    pub(super) window_for: Option<ObjectName>,
    pub(super) adopted: Adopted,
}

impl Allocator {
    /// An allocator for empty maps. Ids start after `seed`. Choose a seed far from the ids of an
    /// earlier allocator: flows may still refer to those.
    pub fn new(capacity: Capacity, seed: u32) -> Self {
        Self {
            capacity,
            slots: Slots::new(capacity.slots),
            service_ids: Ids::starting_after(seed),
            backend_ids: Ids::starting_after(seed),
            wanted: HashMap::new(),
            allocations: HashMap::new(),
            owners: HashMap::new(),
            users: BTreeMap::new(),
            retired: VecDeque::new(),
            used: BTreeMap::new(),
            failed: BTreeSet::new(),
            frontends_freed: None,
            problems: BTreeMap::new(),
            window_for: None,
            adopted: Adopted::default(),
        }
    }

    /// The Services that are not fully in the maps, and why.
    pub fn problems(&self) -> impl Iterator<Item = (&ObjectName, &Problem)> {
        self.problems.iter()
    }

    /// The number of Services.
    pub fn services(&self) -> usize {
        self.wanted.len()
    }

    /// The number of backends in the maps, without those that wait for their deletion.
    pub fn endpoints(&self) -> usize {
        let all: usize = self.used.values().map(|used| used.backends).sum();
        all.saturating_sub(self.retired.len())
    }

    /// How many entries the maps can hold.
    pub const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// How many entries of a family's maps are in use.
    pub fn in_use(&self, family: Family) -> Use {
        self.used.get(&family).copied().unwrap_or_default()
    }

    /// How many slots are free, and how many are in quarantine.
    pub fn free_slots(&self) -> (u32, u32) {
        (self.slots.free_count(), self.slots.quarantined_count())
    }

    /// The desired contents of the maps.
    pub fn tables(&self) -> Tables {
        let mut all = self.adopted.tables.clone();
        for allocation in self.allocations.values() {
            all.frontends.extend(allocation.tables.frontends.iter().map(|(k, v)| (*k, v.clone())));
            all.backends.extend(allocation.tables.backends.iter().map(|(k, v)| (*k, *v)));
        }
        all.backends.extend(self.retired.iter().map(|(_, id, backend)| (*id, *backend)));
        all
    }

    pub(super) fn use_of(&mut self, family: Family) -> &mut Use {
        self.used.entry(family).or_default()
    }

    /// Schedules the deletion of a backend. Returns the entry that it has until then.
    pub(super) fn retire(&mut self, id: BackendId, backend: &Backend, now: Instant) -> Backend {
        let retired =
            Backend { serving: false, in_cluster_set: false, in_local_set: false, ..*backend };
        self.retired.push_back((now + GRACE, id, retired));
        retired
    }
}
