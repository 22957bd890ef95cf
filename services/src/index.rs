//! Services joined with the slices of their endpoints.
//!
//! The index is told of snapshots and says which Services are different from before. It asks the snapshot
//! what changed, so that a changed slice costs the Service that it belongs to, not all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::endpoints::{Place, Target, targets};
use weir_model::{EndpointSlice, Family, Revision, ObjectName, Objects, Service, ServicePort, Snapshot};

/// A Service with its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The Service.
    pub service: Arc<Service>,
    /// Its ports, in its order, each once for each family that it has an address of.
    pub ports: Vec<ResolvedPort>,
}

/// The endpoints of a port in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPort {
    /// The port.
    pub port: ServicePort,
    /// The family.
    pub family: Family,
    /// The endpoints, in the order of their addresses.
    pub targets: Vec<Target>,
}

/// A Service that is different from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: ObjectName,
    /// What it is now; none if there is no such Service any more.
    pub resolved: Option<Arc<Resolved>>,
}

/// The slices of a Service.
type Slices = BTreeMap<ObjectName, Arc<EndpointSlice>>;

/// The index.
#[derive(Debug)]
pub struct Index {
    place: Place,
    services_seen: Option<Revision>,
    slices_seen: Option<Revision>,
    slices_of: HashMap<ObjectName, Slices>,
    service_of: HashMap<ObjectName, ObjectName>,
    resolved: HashMap<ObjectName, Arc<Resolved>>,
}

impl Index {
    /// An empty index for a node.
    pub fn new(node: &str) -> Self {
        Self {
            place: Place { node: node.into(), zone: None },
            services_seen: None,
            slices_seen: None,
            slices_of: HashMap::new(),
            service_of: HashMap::new(),
            resolved: HashMap::new(),
        }
    }

    /// Takes a snapshot in, and tells the Services that are different with it, in the order of their
    /// names.
    pub fn update(&mut self, snapshot: &Snapshot) -> Vec<Change> {
        let mut concerned = BTreeSet::new();
        let slices = changed(&snapshot.slices, self.slices_seen.as_ref(), self.service_of.keys());
        for name in slices {
            self.take_slice(&name, snapshot.slices.get(&name), &mut concerned);
        }
        let known = self.resolved.keys();
        concerned.extend(changed(&snapshot.services, self.services_seen.as_ref(), known));
        self.services_seen = Some(snapshot.services.revision());
        self.slices_seen = Some(snapshot.slices.revision());
        if self.follow_zone(snapshot) {
            concerned.extend(self.resolved.keys().cloned());
        }
        concerned.into_iter().filter_map(|name| self.resolve(name, snapshot)).collect()
    }

    /// All Services, with their endpoints.
    pub fn resolved(&self) -> impl Iterator<Item = (&ObjectName, &Arc<Resolved>)> {
        self.resolved.iter()
    }

    fn take_slice(
        &mut self,
        name: &ObjectName,
        slice: Option<&Arc<EndpointSlice>>,
        concerned: &mut BTreeSet<ObjectName>,
    ) {
        if let Some(service) = self.service_of.remove(name) {
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(name);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            concerned.insert(service);
        }
        if let Some(slice) = slice {
            let service = &slice.service;
            self.service_of.insert(name.clone(), service.clone());
            let slices = self.slices_of.entry(service.clone()).or_default();
            slices.insert(name.clone(), Arc::clone(slice));
            concerned.insert(service.clone());
        }
    }

    /// Returns whether this node is in another zone than before.
    fn follow_zone(&mut self, snapshot: &Snapshot) -> bool {
        let node = snapshot.node_named(&self.place.node);
        let zone = node.and_then(|node| node.zone.as_deref());
        let moved = self.place.zone.as_deref() != zone;
        if moved {
            self.place.zone = zone.map(Into::into);
        }
        moved
    }

    fn resolve(&mut self, name: ObjectName, snapshot: &Snapshot) -> Option<Change> {
        let Some(service) = snapshot.services.get(&name) else {
            self.resolved.remove(&name)?;
            return Some(Change { name, resolved: None });
        };
        let none = Slices::new();
        let slices = self.slices_of.get(&name).unwrap_or(&none);
        let families: BTreeSet<Family> =
            service.cluster_ips.iter().map(|ip| Family::of(*ip)).collect();
        let ports = service.ports.iter().flat_map(|port| {
            let resolve = |family: &Family| ResolvedPort {
                port: port.clone(),
                family: *family,
                targets: targets(slices, port, *family, &self.place),
            };
            families.iter().map(resolve).collect::<Vec<_>>()
        });
        let resolved = Resolved { service: Arc::clone(service), ports: ports.collect() };
        if self.resolved.get(&name).is_some_and(|old| **old == resolved) {
            return None;
        }
        let resolved = Arc::new(resolved);
        self.resolved.insert(name.clone(), Arc::clone(&resolved));
        Some(Change { name, resolved: Some(resolved) })
    }
}

/// The names that may stand for something else than at the mark; all names if that is not known.
fn changed<'a, T>(
    objects: &'a Objects<T>,
    seen: Option<&Revision>,
    known: impl Iterator<Item = &'a ObjectName>,
) -> Vec<ObjectName> {
    match seen.and_then(|mark| objects.changed_since(mark)) {
        Some(names) => names.cloned().collect(),
        None => objects.iter().map(|(name, _)| name).chain(known).cloned().collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
