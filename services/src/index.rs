//! Services joined with the slices of their endpoints.
//!
//! The index takes snapshots and returns the Services that differ from the last one. It asks the
//! snapshot for the names that changed, so the cost of a changed slice is that of its Service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::endpoints::{BackendSpec, Topology, select_backends};
use weir_model::{
    EndpointSlice, Family, ObjectName, Objects, Revision, Service, ServicePort, Snapshot,
};

/// A Service with its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The Service.
    pub service: Arc<Service>,
    /// The ports in the Service's order, each once for each family that the Service has an address
    /// of.
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
    pub backends: Vec<BackendSpec>,
}

/// A Service that differs from the last snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name of the Service.
    pub name: ObjectName,
    /// The Service now. None if it was removed.
    pub resolved: Option<Arc<Resolved>>,
}

/// The slices of a Service.
type Slices = BTreeMap<ObjectName, Arc<EndpointSlice>>;

/// The Services of a node with their endpoints.
#[derive(Debug)]
pub struct Index {
    topology: Topology,
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
            topology: Topology { node: node.into(), zone: None },
            services_seen: None,
            slices_seen: None,
            slices_of: HashMap::new(),
            service_of: HashMap::new(),
            resolved: HashMap::new(),
        }
    }

    /// Takes a snapshot. Returns the Services that differ from the last one, in the order of their
    /// names.
    pub fn update(&mut self, snapshot: &Snapshot) -> Vec<Change> {
        let mut affected = BTreeSet::new();
        let slices = changed(&snapshot.slices, self.slices_seen.as_ref(), self.service_of.keys());
        for name in slices {
            self.update_slice(&name, snapshot.slices.get(&name), &mut affected);
        }
        let known = self.resolved.keys();
        affected.extend(changed(&snapshot.services, self.services_seen.as_ref(), known));
        self.services_seen = Some(snapshot.services.revision());
        self.slices_seen = Some(snapshot.slices.revision());
        if self.update_zone(snapshot) {
            affected.extend(self.resolved.keys().cloned());
        }
        affected.into_iter().filter_map(|name| self.resolve(name, snapshot)).collect()
    }

    /// All Services with their endpoints.
    pub fn resolved(&self) -> impl Iterator<Item = (&ObjectName, &Arc<Resolved>)> {
        self.resolved.iter()
    }

    fn update_slice(
        &mut self,
        name: &ObjectName,
        slice: Option<&Arc<EndpointSlice>>,
        affected: &mut BTreeSet<ObjectName>,
    ) {
        if let Some(service) = self.service_of.remove(name) {
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(name);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            affected.insert(service);
        }
        if let Some(slice) = slice {
            let service = &slice.service;
            self.service_of.insert(name.clone(), service.clone());
            let slices = self.slices_of.entry(service.clone()).or_default();
            slices.insert(name.clone(), Arc::clone(slice));
            affected.insert(service.clone());
        }
    }

    /// Updates the zone of this node. Returns whether it changed.
    fn update_zone(&mut self, snapshot: &Snapshot) -> bool {
        let node = snapshot.node_named(&self.topology.node);
        let zone = node.and_then(|node| node.zone.as_deref());
        let moved = self.topology.zone.as_deref() != zone;
        if moved {
            self.topology.zone = zone.map(Into::into);
        }
        moved
    }

    fn resolve(&mut self, name: ObjectName, snapshot: &Snapshot) -> Option<Change> {
        let Some(service) = snapshot.services.get(&name) else {
            self.resolved.remove(&name)?;
            return Some(Change { name, resolved: None });
        };
        let empty = Slices::new();
        let slices = self.slices_of.get(&name).unwrap_or(&empty);
        let families: BTreeSet<Family> =
            service.cluster_ips.iter().map(|ip| Family::of(*ip)).collect();
        let ports = service.ports.iter().flat_map(|port| {
            let resolve = |family: &Family| ResolvedPort {
                port: port.clone(),
                family: *family,
                backends: select_backends(slices, port, *family, &self.topology),
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

/// The names of the objects that changed since a revision; all names if that is not known.
fn changed<'a, T>(
    objects: &'a Objects<T>,
    seen: Option<&Revision>,
    known: impl Iterator<Item = &'a ObjectName>,
) -> Vec<ObjectName> {
    match seen.and_then(|revision| objects.changed_since(revision)) {
        Some(names) => names.cloned().collect(),
        None => objects.iter().map(|(name, _)| name).chain(known).cloned().collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
