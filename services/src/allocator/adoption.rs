//! Beginning with what an earlier allocator has left in the maps. Services that have not changed
//! keep their ids and slots, so that flows, session affinity and the maps' entries stay as they
//! are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::adopted::Adopted;
use super::allocation::Allocation;
use super::capacity::Capacity;
use super::state::{Allocator, GRACE};
use crate::compile::Compiled;
use crate::diff::{Op, diff};
use crate::tables::{Frontend, Range, Tables};
use weir_model::{Family, ObjectName};

impl Allocator {
    /// An allocator for maps that have these contents. [`Allocator::end_adoption`] deletes the
    /// entries that no Service has asked for by then.
    pub fn adopt(observed: Tables, capacity: Capacity, seed: u32, now: Instant) -> Self {
        let mut allocator = Self::new(capacity, seed);
        let Tables { frontends, backends } = observed;
        for (id, backend) in backends {
            if allocator.backend_ids.adopt(id) {
                allocator.use_of(Family::of(backend.ip)).backends += 1;
                allocator.adopted.tables.backends.insert(id, backend);
            }
        }
        let mut ranges = BTreeSet::new();
        for (key, frontend) in frontends {
            allocator.use_of(Family::of(key.ip)).frontends += 1;
            let Frontend { value, slots } = &frontend;
            let range = value.range;
            let is_valid = slots.len() == range.count as usize
                && (range.count == 0 || ranges.contains(&range) || allocator.occupy(range, now));
            if is_valid {
                if range.count > 0 {
                    ranges.insert(range);
                }
                if allocator.service_ids.adopt(value.service) {
                    allocator.adopted.service_ids.insert(value.service);
                }
                allocator.adopted.tables.frontends.insert(key, frontend);
            } else {
                allocator.adopted.invalid.push(key);
            }
        }
        allocator
    }

    /// Marks a range as in use. Returns false if a part of it was in use already: no allocator
    /// makes such a range. Its free parts are then in quarantine, because a frontend leads there.
    fn occupy(&mut self, range: Range, now: Instant) -> bool {
        let parts = self.slots.take_free_parts(range);
        let is_whole = parts == [range];
        if !is_whole {
            for part in parts {
                self.slots.quarantine(part, now + GRACE);
            }
        }
        is_whole
    }

    /// The adopted entries of a Service that is applied for the first time.
    pub(super) fn take_adopted(
        &mut self,
        name: &ObjectName,
        wanted: Option<&Compiled>,
    ) -> Allocation {
        let mut allocation = Allocation::default();
        let Some(compiled) = wanted.filter(|_| !self.adopted.tables.frontends.is_empty()) else {
            return allocation;
        };
        for port in &compiled.ports {
            for plan in &port.frontends {
                let Some(frontend) = self.adopted.tables.frontends.remove(&plan.key) else {
                    continue;
                };
                let Frontend { value, slots } = &frontend;
                // Both families of a port have one id.
                let known = allocation.ports.get(&port.key) == Some(&value.service);
                let is_free = !allocation.ports.contains_key(&port.key)
                    && self.adopted.service_ids.remove(&value.service);
                if is_free {
                    allocation.ports.insert(port.key.clone(), value.service);
                }
                if known || is_free {
                    for id in slots.iter() {
                        if let Some(backend) = self.adopted.tables.backends.remove(id) {
                            let key = (value.service, backend.ip, backend.port);
                            allocation.backends.insert(key, *id);
                            allocation.tables.backends.insert(*id, backend);
                        }
                    }
                    let key = (value.service, port.family, value.policy.local_set);
                    allocation.sets.insert(key, (value.range, Arc::clone(slots)));
                }
                if value.range.count > 0 {
                    self.users.insert(value.range, name.clone());
                }
                allocation.tables.frontends.insert(plan.key, frontend);
            }
        }
        for key in &compiled.unknown_port_guards {
            if let Some(frontend) = self.adopted.tables.frontends.remove(key) {
                allocation.tables.frontends.insert(*key, frontend);
            }
        }
        allocation
    }

    /// Ends adoption after every Service has been applied. The entries that are left belonged to
    /// other Services and are deleted.
    pub fn end_adoption(&mut self, now: Instant) -> Vec<Op> {
        let Adopted { tables, service_ids, invalid } = std::mem::take(&mut self.adopted);
        service_ids.into_iter().for_each(|id| self.service_ids.release(id));
        let mut retired = Tables::default();
        for (id, backend) in &tables.backends {
            retired.backends.insert(*id, self.retire(*id, backend, now));
        }
        let mut ops = diff(&retired, &tables);
        for (key, frontend) in &tables.frontends {
            self.use_of(Family::of(key.ip)).frontends -= 1;
            let range = frontend.value.range;
            let in_use = self.users.contains_key(&range);
            if range.count > 0 && !in_use {
                self.users.insert(range, ObjectName::new("", ""));
            }
        }
        // Several frontends may have had the same range: it goes into quarantine once.
        let orphaned =
            |(range, name): (&Range, &ObjectName)| name.name.is_empty().then_some(*range);
        let orphans: Vec<Range> = self.users.iter().filter_map(orphaned).collect();
        for range in orphans {
            self.users.remove(&range);
            self.slots.quarantine(range, now + GRACE);
        }
        for key in invalid {
            self.use_of(Family::of(key.ip)).frontends -= 1;
            if !self.owners.contains_key(&key) {
                ops.push(Op::DeleteFrontend(key));
            }
        }
        ops
    }
}
