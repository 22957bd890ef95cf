//! Which endpoints of one port of a Service may serve.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_model::{Endpoint, EndpointSlice, Family, ServicePort};

/// Where this node is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the node.
    pub node: Arc<str>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
}

/// An endpoint of one port of a Service that has flows, or may get some.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// It may get new flows from clients that may use the whole cluster.
    pub in_cluster_set: bool,
    /// It may get new flows from clients that may use this node only.
    pub in_local_set: bool,
}

/// The endpoints of a family for a port, in the order of their addresses. Those in no set have
/// their flows still, and get no new ones.
pub fn targets(
    slices: &BTreeMap<impl Ord, Arc<EndpointSlice>>,
    port: &ServicePort,
    family: Family,
    place: &Place,
) -> Vec<Target> {
    let found = join(slices, port, family);
    let ready: Vec<&Endpoint> = found.values().copied().filter(|found| found.ready).collect();
    let is_local = |endpoint: &Endpoint| endpoint.node.as_ref() == Some(&place.node);
    let hinted = Hinted::of(&ready, place);
    let local_ready = ready.iter().any(|endpoint| is_local(endpoint));
    let any_ready = !ready.is_empty();
    found
        .iter()
        .filter(|(_, endpoint)| endpoint.ready || endpoint.serving)
        .map(|(&(ip, port), endpoint)| {
            let last_resort = endpoint.serving && endpoint.terminating;
            let may = |any_ready: bool| if any_ready { endpoint.ready } else { last_resort };
            Target {
                ip,
                port,
                in_cluster_set: may(any_ready) && hinted.admits(endpoint, place),
                in_local_set: is_local(endpoint) && may(local_ready),
            }
        })
        .collect()
}

/// The endpoints that slices name for a port, which they know by its name and protocol. An endpoint
/// that moves from one slice to another is in both for a while: the later slice is right about it,
/// unless it calls the endpoint terminating.
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
            for endpoint in slice.endpoints.iter().filter(|one| Family::of(one.ip) == family) {
                let first = found.entry((endpoint.ip, port.port)).or_insert(endpoint);
                if !endpoint.terminating {
                    *first = endpoint;
                }
            }
        }
    }
    found
}

/// What the topology hints of the ready endpoints come to. A single endpoint without one switches
/// them off: somebody has to serve the places that it would serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hinted {
    Nothing,
    Node,
    Zone,
}

impl Hinted {
    fn of(ready: &[&Endpoint], place: &Place) -> Self {
        let all = |has: fn(&Endpoint) -> bool| ready.iter().all(|endpoint| has(endpoint));
        let any = |hinted: Self| ready.iter().any(|endpoint| hinted.admits(endpoint, place));
        if all(|endpoint| !endpoint.node_hints.is_empty()) && any(Self::Node) {
            Self::Node
        } else if all(|endpoint| !endpoint.zone_hints.is_empty()) && any(Self::Zone) {
            Self::Zone
        } else {
            Self::Nothing
        }
    }

    fn admits(self, endpoint: &Endpoint, place: &Place) -> bool {
        match self {
            Self::Nothing => true,
            Self::Node => endpoint.node_hints.contains(&place.node),
            Self::Zone => {
                place.zone.as_ref().is_some_and(|zone| endpoint.zone_hints.contains(zone))
            }
        }
    }
}

#[cfg(test)]
mod tests;
