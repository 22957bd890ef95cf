//! Bringing Services to their desired state: the operations of the allocator.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::allocation::Allocation;
use super::problem::Problem;
use super::state::{Allocator, GRACE};
use crate::compile::Compiled;
use crate::diff::{Op, diff};
use crate::tables::{FrontendKey, Range};
use weir_model::{Family, ObjectName};

impl Allocator {
    /// Makes a Service as it is compiled, or removes it. Returns the operations, in their order.
    pub fn apply(
        &mut self,
        name: &ObjectName,
        compiled: Option<Arc<Compiled>>,
        now: Instant,
    ) -> Vec<Op> {
        let before = match compiled {
            Some(compiled) => self.wanted.insert(name.clone(), compiled),
            None => self.wanted.remove(name),
        };
        // A frontend that it claimed and never got, because there was no room.
        let has = |key: &FrontendKey| {
            self.allocations.get(name).is_some_and(|own| own.tables.frontends.contains_key(key))
        };
        for key in before.iter().flat_map(|before| before.keys()).filter(|key| !has(key)) {
            if self.owns(name, &key) {
                self.owners.remove(&key);
            }
        }
        let mut ops = Vec::new();
        self.reconcile_services(vec![name.clone()], now, &mut ops);
        ops
    }

    /// Ends the grace periods that have passed: deletes retired backends, frees quarantined slots,
    /// and tries the Services again that did not fit. Returns the operations, in their order.
    pub fn expire(&mut self, now: Instant) -> Vec<Op> {
        let mut ops = Vec::new();
        while let Some((_, id, backend)) = self.retired.pop_front_if(|(until, ..)| *until <= now) {
            ops.push(Op::DeleteBackend(id));
            self.backend_ids.release(id);
            self.use_of(Family::of(backend.ip)).backends -= 1;
        }
        let released = self.slots.release_expired(now);
        let mut again = Vec::new();
        if self.slots.window_is_free() {
            self.slots.end_reservation();
            // This Service comes first, because the window was reserved for it.
            again.extend(self.window_for.take());
        }
        if released || !ops.is_empty() || self.frontends_freed.take().is_some() {
            again.extend(self.failed.iter().cloned());
        }
        self.reconcile_services(again, now, &mut ops);
        ops
    }

    /// When [`Allocator::expire`] will have something to do.
    pub fn due(&self) -> Option<Instant> {
        let retired = self.retired.front().map(|(until, ..)| *until);
        let frontends_freed = self.frontends_freed.filter(|_| !self.failed.is_empty());
        [retired, self.slots.next_release(), frontends_freed].into_iter().flatten().min()
    }

    /// Reconciles these Services and the others that are affected: those that lose an address to an
    /// older Service, and those that get an address that was given up.
    fn reconcile_services(&mut self, mut names: Vec<ObjectName>, now: Instant, ops: &mut Vec<Op>) {
        names.reverse();
        while let Some(name) = names.pop() {
            for loser in self.claim_frontends(&name) {
                // The loser's frontend is deleted before the new owner's frontend is made.
                self.reconcile_service(&loser, now, ops);
            }
            let given_up = self.reconcile_service(&name, now, ops);
            if given_up.is_empty() {
                continue;
            }
            let waiting = |(loser, problem): (&ObjectName, &Problem)| match problem {
                Problem::Taken { owner, .. } => (*owner == name).then(|| loser.clone()),
                _ => None,
            };
            names.extend(self.problems.iter().filter_map(waiting));
        }
    }

    /// Brings a Service's part of the maps to its desired state. Returns the frontends that the
    /// Service has given up.
    fn reconcile_service(
        &mut self,
        name: &ObjectName,
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Vec<FrontendKey> {
        let wanted = self.wanted.get(name).cloned();
        let old = self.allocations.remove(name);
        let old = old.unwrap_or_else(|| self.take_adopted(name, wanted.as_deref()));
        let allocated = match &wanted {
            Some(compiled) => self.allocate(name, compiled, &old),
            None => Ok(Allocation::default()),
        };
        self.problems.remove(name);
        self.failed.remove(name);
        let new = match allocated {
            Ok(new) => new,
            Err(problem) => {
                // An older Service may have claimed some of the frontends.
                let kept = old.without(|key| !self.owns(name, key));
                self.commit(name, &old, kept, now, ops);
                self.make_room(name, &problem, now, ops);
                self.problems.insert(name.clone(), problem);
                self.failed.insert(name.clone());
                return Vec::new();
            }
        };
        if let Some(compiled) = &wanted
            && let Some(problem) = self.lost_frontend(compiled)
        {
            self.problems.insert(name.clone(), problem);
        }
        self.commit(name, &old, new, now, ops)
    }

    /// Replaces the allocation of a Service. Returns the frontends that the Service has given up.
    fn commit(
        &mut self,
        name: &ObjectName,
        old: &Allocation,
        new: Allocation,
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
                self.slots.quarantine(range, until);
            }
        }
        for id in old.service_ids().filter(|id| !new.has_service_id(*id)) {
            self.service_ids.release(id);
        }
        let mut given_up = Vec::new();
        for key in old.tables.frontends.keys() {
            if !new.tables.frontends.contains_key(key) {
                self.use_of(Family::of(key.ip)).frontends -= 1;
                self.frontends_freed = Some(now);
                if self.owns(name, key) {
                    self.owners.remove(key);
                    given_up.push(*key);
                }
            }
        }
        let added =
            new.tables.frontends.keys().filter(|key| !old.tables.frontends.contains_key(key));
        for key in added {
            self.use_of(Family::of(key.ip)).frontends += 1;
        }
        for (id, backend) in &new.tables.backends {
            if !old.tables.backends.contains_key(id) {
                self.use_of(Family::of(backend.ip)).backends += 1;
            }
        }
        if !new.is_empty() {
            self.allocations.insert(name.clone(), new);
        }
        given_up
    }

    /// If enough slots are free, but not in one range, moves other Services out of a window. When
    /// the window's slots are out of quarantine, [`Allocator::expire`] tries this Service again.
    fn make_room(&mut self, name: &ObjectName, problem: &Problem, now: Instant, ops: &mut Vec<Op>) {
        let Problem::Slots { wanted, free, .. } = *problem else { return };
        if self.window_for.is_some() || free < wanted {
            return;
        }
        let others = self.users.iter().filter(|(_, user)| *user != name);
        let movable = others.map(|(range, _)| *range).collect();
        let Some(moved) = self.slots.reserve(wanted, &movable) else { return };
        self.window_for = Some(name.clone());
        let users: BTreeSet<ObjectName> =
            moved.iter().filter_map(|range| self.users.get(range).cloned()).collect();
        for user in users {
            // A Service that finds no other range stays, and the window never becomes free.
            self.reconcile_service(&user, now, ops);
        }
        let window = self.slots.window();
        let stuck = |range: &Range| window.is_some_and(|window| window.overlaps(*range));
        if self.users.keys().any(stuck) {
            self.slots.end_reservation();
            self.window_for = None;
        }
    }
}
