//! What one Service has in the maps.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Ledger, Problem};
use crate::compile::{Compiled, CompiledPort, Plan, PortKey};
use crate::endpoints::Target;
use crate::tables::{
    Backend, BackendId, Frontend, FrontendKey, FrontendValue, Range, ServiceId, Tables,
};
use weir_model::{Family, ObjectName};

/// A set of backends: of which port, in which family, of this node or of the cluster.
pub(super) type SetKey = (ServiceId, Family, bool);
/// Where it lies, and what it is.
pub(super) type Set = (Range, Arc<[BackendId]>);

/// The ids and slots of a Service, and the part of the maps that they make.
#[derive(Debug, Clone, Default)]
pub(super) struct Holding {
    pub(super) ports: HashMap<PortKey, ServiceId>,
    pub(super) backends: HashMap<(ServiceId, IpAddr, u16), BackendId>,
    pub(super) sets: BTreeMap<SetKey, Set>,
    pub(super) tables: Tables,
}

impl Holding {
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.tables.frontends.is_empty()
    }

    /// The same without some of its frontends, and the sets that only they lead to.
    pub(super) fn without(&self, gone: impl Fn(&FrontendKey) -> bool) -> Self {
        let mut rest = self.clone();
        rest.tables.frontends.retain(|key, _| !gone(key));
        let ranges: BTreeSet<Range> = rest.ranges().collect();
        rest.sets.retain(|_, (range, _)| range.count == 0 || ranges.contains(range));
        rest
    }

    /// The ranges of slots that its frontends use, each once.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range> {
        let ranges = self.tables.frontends.values().map(|frontend| frontend.value.range);
        ranges.filter(|range| range.count > 0).collect::<BTreeSet<_>>().into_iter()
    }

    pub(super) fn service_ids(&self) -> impl Iterator<Item = ServiceId> {
        self.ports.values().copied()
    }

    pub(super) fn has_service_id(&self, id: ServiceId) -> bool {
        self.ports.values().any(|own| *own == id)
    }
}

impl Compiled {
    /// Its frontends.
    pub(super) fn keys(&self) -> impl Iterator<Item = FrontendKey> {
        let ports = self.ports.iter().flat_map(|port| &port.frontends).map(|plan| plan.key);
        ports.chain(self.rest.iter().copied())
    }
}

/// What a holding in the making has taken, to be given back if it comes to nothing.
#[derive(Debug, Default)]
struct Taken {
    services: Vec<ServiceId>,
    backends: Vec<BackendId>,
    ranges: Vec<Range>,
}

impl Ledger {
    /// Makes what a Service is to have, with as much as possible of what it has had. After an error
    /// nothing is taken.
    pub(super) fn hold(
        &mut self,
        name: &ObjectName,
        compiled: &Compiled,
        old: &Holding,
    ) -> Result<Holding, Problem> {
        let mut taken = Taken::default();
        let held = self.try_hold(name, compiled, old, &mut taken);
        if held.is_err() {
            let Taken { services, backends, ranges } = taken;
            services.into_iter().for_each(|id| self.service_ids.release(id));
            backends.into_iter().for_each(|id| self.backend_ids.release(id));
            for range in ranges {
                self.users.remove(&range);
                // Nothing has led there yet.
                self.slots.give_back(range);
            }
        }
        held
    }

    fn try_hold(
        &mut self,
        name: &ObjectName,
        compiled: &Compiled,
        old: &Holding,
        taken: &mut Taken,
    ) -> Result<Holding, Problem> {
        let mut new = Holding::default();
        for port in &compiled.ports {
            let service = *new.ports.entry(port.key.clone()).or_insert_with(|| {
                old.ports.get(&port.key).copied().unwrap_or_else(|| {
                    let id = self.service_ids.next();
                    taken.services.push(id);
                    id
                })
            });
            for target in &port.targets {
                let key = (service, target.ip, target.port);
                let id = old.backends.get(&key).copied().unwrap_or_else(|| {
                    let id = self.backend_ids.next();
                    taken.backends.push(id);
                    id
                });
                new.backends.insert(key, id);
                new.tables.backends.insert(id, backend(target));
            }
        }
        self.check_room(compiled, &new, old)?;
        for port in &compiled.ports {
            for plan in &port.frontends {
                if !self.owns(name, &plan.key) {
                    continue;
                }
                let service = new.ports.get(&port.key).copied().unwrap_or_default();
                let (range, slots) = self.set(name, port, service, plan, old, &mut new, taken)?;
                new.tables.frontends.entry(plan.key).or_insert(Frontend {
                    value: FrontendValue {
                        service,
                        range,
                        affinity: plan.affinity,
                        drop_if_empty: plan.drop_if_empty,
                        local_set: plan.local_set,
                        masquerade: plan.masquerade,
                    },
                    slots,
                });
            }
        }
        for key in compiled.rest.iter().filter(|key| self.owns(name, key)) {
            new.tables.frontends.insert(*key, refusal());
        }
        Ok(new)
    }

    /// The set that a frontend chooses from: the old one if it is the same, else one in fresh slots.
    #[expect(clippy::too_many_arguments, reason = "the parts of one step of `try_hold`")]
    fn set(
        &mut self,
        name: &ObjectName,
        port: &CompiledPort,
        service: ServiceId,
        plan: &Plan,
        old: &Holding,
        new: &mut Holding,
        taken: &mut Taken,
    ) -> Result<Set, Problem> {
        let key = (service, port.family, plan.local_set);
        let vacant = match new.sets.entry(key) {
            Entry::Occupied(set) => return Ok(set.get().clone()),
            Entry::Vacant(vacant) => vacant,
        };
        let id = |target: &Target| new.backends.get(&(service, target.ip, target.port)).copied();
        let ids: Arc<[BackendId]> = port.set(plan.local_set).filter_map(id).collect();
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
                free: self.slots.free(),
                resting: self.slots.resting(),
                capacity: self.capacity.slots,
            });
        };
        taken.ranges.push(range);
        self.users.insert(range, name.clone());
        Ok(vacant.insert((range, ids)).clone())
    }

    /// Whether there is room for the frontends and backends that are new.
    fn check_room(&self, compiled: &Compiled, new: &Holding, old: &Holding) -> Result<(), Problem> {
        for family in [Family::V4, Family::V6] {
            let used = self.in_use(family);
            let of_family = |ip: IpAddr| Family::of(ip) == family;
            let had = |key: &FrontendKey| old.tables.frontends.contains_key(key);
            let name = compiled.rank.name();
            let keys = compiled.keys().filter(|key| of_family(key.ip) && self.owns(name, key));
            let wanted = keys.filter(|key| !had(key)).count();
            // What it gives up makes room only later: a new frontend is put before that.
            if used.frontends + wanted > self.capacity.frontends && wanted > 0 {
                let (used, capacity) = (used.frontends, self.capacity.frontends);
                return Err(Problem::Frontends { wanted, used, capacity });
            }
            let fresh = new.tables.backends.iter().filter(|(id, backend)| {
                of_family(backend.ip) && !old.tables.backends.contains_key(id)
            });
            let wanted = fresh.count();
            if used.backends + wanted > self.capacity.backends && wanted > 0 {
                let (used, capacity) = (used.backends, self.capacity.backends);
                return Err(Problem::Backends { wanted, used, capacity });
            }
        }
        Ok(())
    }
}

fn backend(target: &Target) -> Backend {
    let Target { ip, port, in_cluster_set, in_local_set } = *target;
    Backend { ip, port, serving: true, in_cluster_set, in_local_set }
}

/// What refuses everything.
fn refusal() -> Frontend {
    let value = FrontendValue {
        service: 0,
        range: Range::default(),
        affinity: 0,
        drop_if_empty: false,
        local_set: false,
        masquerade: false,
    };
    Frontend { value, slots: Arc::new([]) }
}
