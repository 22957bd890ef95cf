//! The ids and slots that Services have in the maps, and the operations that change them.
//!
//! A Service that changes gets a fresh range of slots for each set of backends that is different,
//! and its frontends are swapped to it one by one; the old range rests before anybody else gets it.
//! A backend that is gone is marked as not serving, and deleted when no packet can still be about to
//! look at it. What has not changed keeps its ids and its place, also over a restart of the agent:
//! the ledger can begin with what an earlier one has left in the maps.
//!
//! A Service for which there is no room keeps what it has, is a [`Problem`], and is tried again when
//! something was given back; others are not concerned.

mod adoption;
mod claims;
mod holding;
mod ids;
mod room;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::adoption::Adopted;
use self::holding::Holding;
use self::ids::Ids;
pub use self::room::{Capacity, Problem, Use};
use super::compile::{Compiled, Rank};
use super::diff::{Op, diff};
use super::slots::Slots;
use super::tables::{Backend, BackendId, FrontendKey, Range, Tables};
use weir_model::{Family, ObjectName};

/// A packet is done with what it looks at in far less time.
pub const GRACE: Duration = Duration::from_secs(1);

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    capacity: Capacity,
    slots: Slots,
    service_ids: Ids,
    backend_ids: Ids,
    wanted: HashMap<ObjectName, Arc<Compiled>>,
    holdings: HashMap<ObjectName, Holding>,
    owners: HashMap<FrontendKey, Rank>,
    /// Who uses a range of slots.
    users: BTreeMap<Range, ObjectName>,
    /// Backends that are gone and wait for their deletion, in the order of time.
    retired: VecDeque<(Instant, BackendId, Backend)>,
    used: BTreeMap<Family, Use>,
    /// For lack of room.
    failed: BTreeSet<ObjectName>,
    /// When room for frontends was made that nobody has tried to use.
    roomier: Option<Instant>,
    problems: BTreeMap<ObjectName, Problem>,
    /// Whom the reserved window is for.
    window_for: Option<ObjectName>,
    adopted: Adopted,
}

impl Ledger {
    /// A ledger of empty maps. Ids start behind `seed`: best where no earlier ledger has been, so
    /// that nothing that remembers an id of it takes a new one for that.
    pub fn new(capacity: Capacity, seed: u32) -> Self {
        Self {
            capacity,
            slots: Slots::new(capacity.slots),
            service_ids: Ids::starting_after(seed),
            backend_ids: Ids::starting_after(seed),
            wanted: HashMap::new(),
            holdings: HashMap::new(),
            owners: HashMap::new(),
            users: BTreeMap::new(),
            retired: VecDeque::new(),
            used: BTreeMap::new(),
            failed: BTreeSet::new(),
            roomier: None,
            problems: BTreeMap::new(),
            window_for: None,
            adopted: Adopted::default(),
        }
    }

    /// Makes a Service what it is to be, or takes it away. Tells the operations, in their order.
    pub fn place(
        &mut self,
        name: &ObjectName,
        compiled: Option<Arc<Compiled>>,
        now: Instant,
    ) -> Vec<Op> {
        let before = match compiled {
            Some(compiled) => self.wanted.insert(name.clone(), compiled),
            None => self.wanted.remove(name),
        };
        // What it has claimed and never had, for lack of room.
        let has = |key: &FrontendKey| {
            self.holdings.get(name).is_some_and(|held| held.tables.frontends.contains_key(key))
        };
        for key in before.iter().flat_map(|before| before.keys()).filter(|key| !has(key)) {
            if self.owns(name, &key) {
                self.owners.remove(&key);
            }
        }
        let mut ops = Vec::new();
        self.realize_all(vec![name.clone()], now, &mut ops);
        ops
    }

    /// Does what time allows: deletes what is gone long enough, and tries again what did not fit.
    pub fn settle(&mut self, now: Instant) -> Vec<Op> {
        let mut ops = Vec::new();
        while let Some((_, id, backend)) = self.retired.pop_front_if(|(until, ..)| *until <= now) {
            ops.push(Op::DeleteBackend(id));
            self.backend_ids.release(id);
            self.count(Family::of(backend.ip)).backends -= 1;
        }
        let woken = self.slots.wake(now);
        let mut again = Vec::new();
        if self.slots.window_is_free() {
            self.slots.release_window();
            // It comes first: the room was made for it.
            again.extend(self.window_for.take());
        }
        if woken || !ops.is_empty() || self.roomier.take().is_some() {
            again.extend(self.failed.iter().cloned());
        }
        self.realize_all(again, now, &mut ops);
        ops
    }

    /// When [`Ledger::settle`] will have something to do.
    pub fn due(&self) -> Option<Instant> {
        let retired = self.retired.front().map(|(until, ..)| *until);
        let roomier = self.roomier.filter(|_| !self.failed.is_empty());
        [retired, self.slots.wakes(), roomier].into_iter().flatten().min()
    }

    /// What is not as it should be, by Service.
    pub fn problems(&self) -> impl Iterator<Item = (&ObjectName, &Problem)> {
        self.problems.iter()
    }

    /// How many Services it knows.
    pub fn services(&self) -> usize {
        self.wanted.len()
    }

    /// How many backends of theirs the maps hold.
    pub fn endpoints(&self) -> usize {
        let held: usize = self.used.values().map(|used| used.backends).sum();
        held.saturating_sub(self.retired.len())
    }

    /// How much the maps can hold.
    pub const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What is in use of a family's maps.
    pub fn in_use(&self, family: Family) -> Use {
        self.used.get(&family).copied().unwrap_or_default()
    }

    /// How many slots are free, and how many soon will be.
    pub fn free_slots(&self) -> (u32, u32) {
        (self.slots.free(), self.slots.resting())
    }

    /// What the maps should hold now.
    pub fn tables(&self) -> Tables {
        let mut all = self.adopted.tables.clone();
        for holding in self.holdings.values() {
            all.frontends.extend(holding.tables.frontends.iter().map(|(k, v)| (*k, v.clone())));
            all.backends.extend(holding.tables.backends.iter().map(|(k, v)| (*k, *v)));
        }
        all.backends.extend(self.retired.iter().map(|(_, id, backend)| (*id, *backend)));
        all
    }

    fn count(&mut self, family: Family) -> &mut Use {
        self.used.entry(family).or_default()
    }

    /// Realizes these Services, and those that this concerns: who loses an address to an older
    /// Service, and who can have one that was given up.
    fn realize_all(&mut self, mut names: Vec<ObjectName>, now: Instant, ops: &mut Vec<Op>) {
        names.reverse();
        while let Some(name) = names.pop() {
            for loser in self.claim(&name) {
                // Its frontend is deleted before the new owner makes one.
                self.realize(&loser, now, ops);
            }
            let given_up = self.realize(&name, now, ops);
            if given_up.is_empty() {
                continue;
            }
            let can_have = |(loser, problem): (&ObjectName, &Problem)| match problem {
                Problem::Taken { owner, .. } => (*owner == name).then(|| loser.clone()),
                _ => None,
            };
            names.extend(self.problems.iter().filter_map(can_have));
        }
    }

    /// Brings a Service's part of the maps to what it should be. Tells the frontends that it has
    /// given up.
    fn realize(&mut self, name: &ObjectName, now: Instant, ops: &mut Vec<Op>) -> Vec<FrontendKey> {
        let wanted = self.wanted.get(name).cloned();
        let old = self.holdings.remove(name);
        let old = old.unwrap_or_else(|| self.inherit(name, wanted.as_deref()));
        let made = match &wanted {
            Some(compiled) => self.hold(name, compiled, &old),
            None => Ok(Holding::default()),
        };
        self.problems.remove(name);
        self.failed.remove(name);
        let new = match made {
            Ok(new) => new,
            Err(problem) => {
                // An older Service may have claimed some of it.
                let kept = old.without(|key| !self.owns(name, key));
                self.turn_to(name, &old, kept, now, ops);
                self.make_room(name, &problem, now, ops);
                self.problems.insert(name.clone(), problem);
                self.failed.insert(name.clone());
                return Vec::new();
            }
        };
        if let Some(compiled) = &wanted
            && let Some(problem) = self.lost(compiled)
        {
            self.problems.insert(name.clone(), problem);
        }
        self.turn_to(name, &old, new, now, ops)
    }

    /// Puts a new holding in the place of an old one.
    fn turn_to(
        &mut self,
        name: &ObjectName,
        old: &Holding,
        new: Holding,
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Vec<FrontendKey> {
        let until = now + GRACE;
        let mut desired = new.tables.clone();
        for (id, backend) in &old.tables.backends {
            if !new.tables.backends.contains_key(id) {
                desired.backends.insert(*id, self.retire(*id, backend, now));
            }
        }
        ops.extend(diff(&desired, &old.tables));
        let kept: BTreeSet<Range> = new.ranges().collect();
        for range in old.ranges().filter(|range| !kept.contains(range)) {
            if self.users.remove(&range).is_some() {
                self.slots.rest(range, until);
            }
        }
        for id in old.service_ids().filter(|id| !new.has_service_id(*id)) {
            self.service_ids.release(id);
        }
        let mut given_up = Vec::new();
        for key in old.tables.frontends.keys() {
            if !new.tables.frontends.contains_key(key) {
                self.count(Family::of(key.ip)).frontends -= 1;
                self.roomier = Some(now);
                if self.owns(name, key) {
                    self.owners.remove(key);
                    given_up.push(*key);
                }
            }
        }
        let fresh =
            new.tables.frontends.keys().filter(|key| !old.tables.frontends.contains_key(key));
        for key in fresh {
            self.count(Family::of(key.ip)).frontends += 1;
        }
        for (id, backend) in &new.tables.backends {
            if !old.tables.backends.contains_key(id) {
                self.count(Family::of(backend.ip)).backends += 1;
            }
        }
        if !new.is_empty() {
            self.holdings.insert(name.clone(), new);
        }
        given_up
    }

    /// Has a backend deleted after the grace period. Tells what it is until then.
    fn retire(&mut self, id: BackendId, backend: &Backend, now: Instant) -> Backend {
        let retired =
            Backend { serving: false, in_cluster_set: false, in_local_set: false, ..*backend };
        self.retired.push_back((now + GRACE, id, retired));
        retired
    }
}

#[cfg(test)]
mod tests;
