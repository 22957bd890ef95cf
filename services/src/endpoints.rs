//! Which endpoints of one port of a Service may get flows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_model::{Endpoint, EndpointSlice, Family, ServicePort};

/// The position of this node in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The name of the node.
    pub node: Arc<str>,
    /// The zone of the node, if it has one.
    pub zone: Option<Arc<str>>,
}

/// An endpoint of one port of a Service that has flows or may get new ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendSpec {
    /// The endpoint's address.
    pub ip: IpAddr,
    /// The endpoint's port.
    pub port: u16,
    /// It may get new flows of frontends that choose from the whole cluster.
    pub in_cluster_set: bool,
    /// It may get new flows of frontends that choose from this node's endpoints.
    pub in_local_set: bool,
}

/// The endpoints of a family for a port, in the order of their addresses. An endpoint that is in
/// neither set keeps its flows and gets no new ones.
pub fn select_backends(
    slices: &BTreeMap<impl Ord, Arc<EndpointSlice>>,
    port: &ServicePort,
    family: Family,
    topology: &Topology,
) -> Vec<BackendSpec> {
    let found = join(slices, port, family);
    let ready: Vec<&Endpoint> = found.values().copied().filter(|found| found.ready).collect();
    let is_local = |endpoint: &Endpoint| endpoint.node.as_ref() == Some(&topology.node);
    let hints = Hints::of(&ready, topology);
    let local_ready = ready.iter().any(|endpoint| is_local(endpoint));
    let any_ready = !ready.is_empty();
    found
        .iter()
        .filter(|(_, endpoint)| endpoint.ready || endpoint.serving)
        .map(|(&(ip, port), endpoint)| {
            let last_resort = endpoint.serving && endpoint.terminating;
            let may_serve = |any_ready: bool| if any_ready { endpoint.ready } else { last_resort };
            BackendSpec {
                ip,
                port,
                in_cluster_set: may_serve(any_ready) && hints.admit(endpoint, topology),
                in_local_set: is_local(endpoint) && may_serve(local_ready),
            }
        })
        .collect()
}

/// The endpoints of all slices for a port, which is found by name and protocol. An endpoint that
/// moves from one slice to another is in both for a while. The later slice is used, unless it says
/// that the endpoint is terminating.
fn join<'a>(
    slices: &'a BTreeMap<impl Ord, Arc<EndpointSlice>>,
    wanted: &ServicePort,
    family: Family,
) -> BTreeMap<(IpAddr, u16), &'a Endpoint> {
    let mut found = BTreeMap::new();
    for slice in slices.values() {
        let ports = slice
            .ports
            .iter()
            .filter(|port| port.name == wanted.name && port.protocol == wanted.protocol);
        for port in ports {
            for endpoint in
                slice.endpoints.iter().filter(|endpoint| Family::of(endpoint.ip) == family)
            {
                let current = found.entry((endpoint.ip, port.port)).or_insert(endpoint);
                if !endpoint.terminating {
                    *current = endpoint;
                }
            }
        }
    }
    found
}

/// Which topology hints of the ready endpoints are used. One endpoint without a hint turns hints
/// off, because the hints of the others may then leave some zones without an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hints {
    Unused,
    ForNode,
    ForZone,
}

impl Hints {
    fn of(ready: &[&Endpoint], topology: &Topology) -> Self {
        let all = |has: fn(&Endpoint) -> bool| ready.iter().all(|endpoint| has(endpoint));
        let any = |hints: Self| ready.iter().any(|endpoint| hints.admit(endpoint, topology));
        if all(|endpoint| !endpoint.node_hints.is_empty()) && any(Self::ForNode) {
            Self::ForNode
        } else if all(|endpoint| !endpoint.zone_hints.is_empty()) && any(Self::ForZone) {
            Self::ForZone
        } else {
            Self::Unused
        }
    }

    fn admit(self, endpoint: &Endpoint, topology: &Topology) -> bool {
        match self {
            Self::Unused => true,
            Self::ForNode => endpoint.node_hints.contains(&topology.node),
            Self::ForZone => {
                topology.zone.as_ref().is_some_and(|zone| endpoint.zone_hints.contains(zone))
            }
        }
    }
}

#[cfg(test)]
mod tests;
