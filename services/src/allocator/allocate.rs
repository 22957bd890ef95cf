//! Computing the allocation of one Service.

use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use super::allocation::{Allocation, Set};
use super::problem::Problem;
use super::state::Allocator;
use crate::compile::{Compiled, CompiledPort, Plan};
use crate::endpoints::BackendSpec;
use crate::tables::{Backend, BackendId, Frontend, FrontendValue, Range, ServiceId};
use weir_model::{Family, ObjectName};

/// What an unfinished allocation has acquired. It is released if the allocation fails.
#[derive(Debug, Default)]
struct Acquired {
    services: Vec<ServiceId>,
    backends: Vec<BackendId>,
    ranges: Vec<Range>,
}

impl Allocator {
    /// The allocation of a Service. It keeps as many ids and slots of the old one as possible.
    ///
    /// # Errors
    /// When there is no room. Then nothing has been acquired.
    pub(super) fn allocate(
        &mut self,
        name: &ObjectName,
        compiled: &Compiled,
        old: &Allocation,
    ) -> Result<Allocation, Problem> {
        let mut acquired = Acquired::default();
        let allocated = self.try_allocate(name, compiled, old, &mut acquired);
        if allocated.is_err() {
            let Acquired { services, backends, ranges } = acquired;
            services.into_iter().for_each(|id| self.service_ids.release(id));
            backends.into_iter().for_each(|id| self.backend_ids.release(id));
            for range in ranges {
                self.users.remove(&range);
                // No quarantine: no frontend leads there yet.
                self.slots.free_range(range);
            }
        }
        allocated
    }

    fn try_allocate(
        &mut self,
        name: &ObjectName,
        compiled: &Compiled,
        old: &Allocation,
        acquired: &mut Acquired,
    ) -> Result<Allocation, Problem> {
        let mut new = Allocation::default();
        for port in &compiled.ports {
            let service = *new.ports.entry(port.key.clone()).or_insert_with(|| {
                old.ports.get(&port.key).copied().unwrap_or_else(|| {
                    let id = self.service_ids.next();
                    acquired.services.push(id);
                    id
                })
            });
            for spec in &port.backends {
                let key = (service, spec.ip, spec.port);
                let id = old.backends.get(&key).copied().unwrap_or_else(|| {
                    let id = self.backend_ids.next();
                    acquired.backends.push(id);
                    id
                });
                new.backends.insert(key, id);
                new.tables.backends.insert(id, backend(spec));
            }
        }
        self.check_room(compiled, &new, old)?;
        for port in &compiled.ports {
            for plan in &port.frontends {
                if !self.owns(name, &plan.key) {
                    continue;
                }
                let service = new.ports.get(&port.key).copied().unwrap_or_default();
                let (range, slots) =
                    self.allocate_set(name, port, service, plan, old, &mut new, acquired)?;
                let value = FrontendValue { service, range, policy: plan.policy };
                new.tables.frontends.entry(plan.key).or_insert(Frontend { value, slots });
            }
        }
        for key in compiled.unknown_port_guards.iter().filter(|key| self.owns(name, key)) {
            new.tables.frontends.insert(*key, rejecting_frontend());
        }
        Ok(new)
    }

    /// The set that a frontend chooses from: the old set if it is the same, or else fresh slots.
    #[expect(clippy::too_many_arguments, reason = "the parts of one step of `try_allocate`")]
    fn allocate_set(
        &mut self,
        name: &ObjectName,
        port: &CompiledPort,
        service: ServiceId,
        plan: &Plan,
        old: &Allocation,
        new: &mut Allocation,
        acquired: &mut Acquired,
    ) -> Result<Set, Problem> {
        let key = (service, port.family, plan.policy.local_set);
        let vacant = match new.sets.entry(key) {
            Entry::Occupied(set) => return Ok(set.get().clone()),
            Entry::Vacant(vacant) => vacant,
        };
        let id = |spec: &BackendSpec| new.backends.get(&(service, spec.ip, spec.port)).copied();
        let ids: Arc<[BackendId]> = port.set(plan.policy.local_set).filter_map(id).collect();
        let window = self.slots.window();
        let may_stay = |range: &Range| window.is_none_or(|window| !window.overlaps(*range));
        let kept = old.sets.get(&key).filter(|(range, slots)| *slots == ids && may_stay(range));
        if let Some(set) = kept {
            return Ok(vacant.insert(set.clone()).clone());
        }
        if ids.is_empty() {
            return Ok(vacant.insert((Range::default(), ids)).clone());
        }
        let wanted = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let Some(range) = self.slots.take(wanted) else {
            return Err(Problem::Slots {
                wanted,
                free: self.slots.free_count(),
                quarantined: self.slots.quarantined_count(),
                capacity: self.capacity.slots,
            });
        };
        acquired.ranges.push(range);
        self.users.insert(range, name.clone());
        Ok(vacant.insert((range, ids)).clone())
    }

    /// Checks that there is room for the frontends and backends that are new.
    fn check_room(
        &self,
        compiled: &Compiled,
        new: &Allocation,
        old: &Allocation,
    ) -> Result<(), Problem> {
        for family in [Family::V4, Family::V6] {
            let used = self.in_use(family);
            let of_family = |ip: IpAddr| Family::of(ip) == family;
            let name = compiled.precedence.name();
            let keys = compiled.keys().filter(|key| of_family(key.ip) && self.owns(name, key));
            let wanted = keys.filter(|key| !old.tables.frontends.contains_key(key)).count();
            // Frontends that the Service gives up are not counted: new ones are put before those
            // are deleted.
            if used.frontends + wanted > self.capacity.frontends && wanted > 0 {
                let (used, capacity) = (used.frontends, self.capacity.frontends);
                return Err(Problem::Frontends { wanted, used, capacity });
            }
            let added = new.tables.backends.iter().filter(|(id, backend)| {
                of_family(backend.ip) && !old.tables.backends.contains_key(id)
            });
            let wanted = added.count();
            if used.backends + wanted > self.capacity.backends && wanted > 0 {
                let (used, capacity) = (used.backends, self.capacity.backends);
                return Err(Problem::Backends { wanted, used, capacity });
            }
        }
        Ok(())
    }
}

fn backend(spec: &BackendSpec) -> Backend {
    let BackendSpec { ip, port, in_cluster_set, in_local_set } = *spec;
    Backend { ip, port, serving: true, in_cluster_set, in_local_set }
}

/// The entry of an unknown-port guard: it has no backends, so every packet is rejected.
fn rejecting_frontend() -> Frontend {
    Frontend { value: FrontendValue::default(), slots: Arc::new([]) }
}
