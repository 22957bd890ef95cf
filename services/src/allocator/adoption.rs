//! Beginning with what an earlier ledger has left in the maps: Services that are as they were keep
//! their ids and slots, so that flows, session affinity and the maps themselves stay as they are.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::holding::Holding;
use super::{Capacity, GRACE, Ledger};
use crate::compile::Compiled;
use crate::diff::{Op, diff};
use crate::tables::{Frontend, FrontendKey, Range, ServiceId, Tables};
use weir_model::{Family, ObjectName};

/// What was found and nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) tables: Tables,
    /// The ids of its ports.
    service_ids: HashSet<ServiceId>,
    /// Frontends that make no sense. They are replaced, or deleted in the end.
    senseless: Vec<FrontendKey>,
}

impl Ledger {
    /// A ledger of maps that hold this. Of what no Service asks for until
    /// [`Ledger::end_adoption`], nothing stays.
    pub fn adopt(observed: Tables, capacity: Capacity, seed: u32, now: Instant) -> Self {
        let mut ledger = Self::new(capacity, seed);
        let Tables { frontends, backends } = observed;
        for (id, backend) in backends {
            if ledger.backend_ids.adopt(id) {
                ledger.count(Family::of(backend.ip)).backends += 1;
                ledger.adopted.tables.backends.insert(id, backend);
            }
        }
        let mut ranges = BTreeSet::new();
        for (key, frontend) in frontends {
            ledger.count(Family::of(key.ip)).frontends += 1;
            let Frontend { value, slots } = &frontend;
            let range = value.range;
            let makes_sense = slots.len() == range.count as usize
                && (range.count == 0 || ranges.contains(&range) || ledger.occupy(range, now));
            if makes_sense {
                if range.count > 0 {
                    ranges.insert(range);
                }
                if ledger.service_ids.adopt(value.service) {
                    ledger.adopted.service_ids.insert(value.service);
                }
                ledger.adopted.tables.frontends.insert(key, frontend);
            } else {
                ledger.adopted.senseless.push(key);
            }
        }
        ledger
    }

    /// Marks a range as in use. One that is partly used already is none that a ledger has made; what
    /// is free of it rests, because a frontend leads there.
    fn occupy(&mut self, range: Range, now: Instant) -> bool {
        let parts = self.slots.carve(range);
        let whole = parts == [range];
        if !whole {
            for part in parts {
                self.slots.rest(part, now + GRACE);
            }
        }
        whole
    }

    /// What the maps already hold of a Service that is placed for the first time.
    pub(super) fn inherit(&mut self, name: &ObjectName, wanted: Option<&Compiled>) -> Holding {
        let mut holding = Holding::default();
        let Some(compiled) = wanted.filter(|_| !self.adopted.tables.frontends.is_empty()) else {
            return holding;
        };
        for port in &compiled.ports {
            for plan in &port.frontends {
                let Some(frontend) = self.adopted.tables.frontends.remove(&plan.key) else {
                    continue;
                };
                let Frontend { value, slots } = &frontend;
                // Both families of a port have one id.
                let known = holding.ports.get(&port.key) == Some(&value.service);
                let is_free = !holding.ports.contains_key(&port.key)
                    && self.adopted.service_ids.remove(&value.service);
                if is_free {
                    holding.ports.insert(port.key.clone(), value.service);
                }
                if known || is_free {
                    for id in slots.iter() {
                        if let Some(backend) = self.adopted.tables.backends.remove(id) {
                            let key = (value.service, backend.ip, backend.port);
                            holding.backends.insert(key, *id);
                            holding.tables.backends.insert(*id, backend);
                        }
                    }
                    let key = (value.service, port.family, value.local_set);
                    holding.sets.insert(key, (value.range, Arc::clone(slots)));
                }
                if value.range.count > 0 {
                    self.users.insert(value.range, name.clone());
                }
                holding.tables.frontends.insert(plan.key, frontend);
            }
        }
        for key in &compiled.rest {
            if let Some(frontend) = self.adopted.tables.frontends.remove(key) {
                holding.tables.frontends.insert(*key, frontend);
            }
        }
        holding
    }

    /// All Services have been placed: what is left was of others, and goes.
    pub fn end_adoption(&mut self, now: Instant) -> Vec<Op> {
        let adopted = std::mem::take(&mut self.adopted);
        let Adopted { tables, service_ids, senseless } = adopted;
        service_ids.into_iter().for_each(|id| self.service_ids.release(id));
        let mut retired = Tables::default();
        for (id, backend) in &tables.backends {
            retired.backends.insert(*id, self.retire(*id, backend, now));
        }
        let mut ops = diff(&retired, &tables);
        for (key, frontend) in &tables.frontends {
            self.count(Family::of(key.ip)).frontends -= 1;
            let range = frontend.value.range;
            let in_use = self.users.contains_key(&range);
            if range.count > 0 && !in_use {
                self.users.insert(range, ObjectName::new("", ""));
            }
        }
        // Several frontends may have had the same range: it rests once.
        let orphaned =
            |(range, name): (&Range, &ObjectName)| name.name.is_empty().then_some(*range);
        let orphans: Vec<Range> = self.users.iter().filter_map(orphaned).collect();
        for range in orphans {
            self.users.remove(&range);
            self.slots.rest(range, now + GRACE);
        }
        for key in senseless {
            self.count(Family::of(key.ip)).frontends -= 1;
            if !self.owners.contains_key(&key) {
                ops.push(Op::DeleteFrontend(key));
            }
        }
        ops
    }
}
