use std::net::IpAddr;

use super::*;
use weir_model::{Endpoint, Protocol, SlicePort, TrafficPolicy};
use weir_model::{Node, NodeUid};

/// A builder of endpoints.
#[derive(Clone)]
pub(crate) struct Ep(pub(crate) Endpoint);

/// A ready endpoint 10.244.0.`last`.
pub(crate) fn ep(last: u8) -> Ep {
    Ep(Endpoint {
        ip: IpAddr::from([10, 244, 0, last]),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    })
}

impl Ep {
    pub(crate) fn on(mut self, node: &str) -> Self {
        self.0.node = Some(node.into());
        self
    }

    pub(crate) fn unready(mut self) -> Self {
        (self.0.ready, self.0.serving) = (false, false);
        self
    }

    pub(crate) fn unserving(mut self) -> Self {
        self.0.serving = false;
        self
    }

    pub(crate) fn terminating(mut self) -> Self {
        (self.0.ready, self.0.terminating) = (false, true);
        self
    }

    pub(crate) fn zones(mut self, zones: &[&str]) -> Self {
        self.0.zone_hints = zones.iter().map(|zone| (*zone).into()).collect();
        self
    }

    pub(crate) fn nodes(mut self, nodes: &[&str]) -> Self {
        self.0.node_hints = nodes.iter().map(|node| (*node).into()).collect();
        self
    }
}

pub(crate) fn name(name: &str) -> ObjectName {
    ObjectName::new("ns", name)
}

/// A slice of a Service with an unnamed port, TCP 8080.
pub(crate) fn slice(slice_name: &str, service: &str, endpoints: &[Ep]) -> EndpointSlice {
    EndpointSlice {
        name: name(slice_name),
        service: name(service),
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.iter().map(|ep| ep.0.clone()).collect(),
    }
}

/// A Service at 10.96.0.`last` with an unnamed port, TCP 80.
pub(crate) fn service(service_name: &str, last: u8) -> Service {
    Service {
        name: name(service_name),
        created: None,
        cluster_ips: vec![IpAddr::from([10, 96, 0, last])],
        ports: vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80 }],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity_seconds: None,
    }
}

pub(crate) fn snapshot(services: &[Service], slices: &[EndpointSlice]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for service in services {
        snapshot.services.insert(service.name.clone(), service.clone().into());
    }
    for slice in slices {
        snapshot.slices.insert(slice.name.clone(), slice.clone().into());
    }
    snapshot
}

/// The names of the Services that changed, each with the last bytes of its endpoints' addresses.
fn summary(changes: &[Change]) -> Vec<(String, Option<Vec<u8>>)> {
    let last = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    };
    let of = |resolved: &Arc<Resolved>| {
        let backends = resolved.ports.iter().flat_map(|port| &port.backends);
        backends.map(|spec| last(spec.ip)).collect()
    };
    let changes = changes.iter();
    changes.map(|change| (change.name.name.to_string(), change.resolved.as_ref().map(of))).collect()
}

#[test]
fn a_changed_slice_affects_its_service_and_no_other() {
    let mut index = Index::new("here");
    let mut snapshot = snapshot(
        &[service("a", 1), service("b", 2)],
        &[slice("a-1", "a", &[ep(1)]), slice("b-1", "b", &[ep(2)])],
    );
    let first = summary(&index.update(&snapshot));
    assert_eq!(first, [("a".into(), Some(vec![1])), ("b".into(), Some(vec![2]))]);
    assert_eq!(index.update(&snapshot), []);

    snapshot.slices.insert(name("b-2"), slice("b-2", "b", &[ep(3)]).into());
    assert_eq!(summary(&index.update(&snapshot)), [("b".into(), Some(vec![2, 3]))]);
    snapshot.slices.remove(&name("b-1"));
    assert_eq!(summary(&index.update(&snapshot)), [("b".into(), Some(vec![3]))]);
    snapshot.services.remove(&name("a"));
    assert_eq!(summary(&index.update(&snapshot)), [("a".into(), None)]);
}

#[test]
fn an_endpoint_that_moves_between_slices_does_not_change_the_service() {
    let mut index = Index::new("here");
    let mut snapshot = snapshot(
        &[service("a", 1)],
        &[slice("a-1", "a", &[ep(1), ep(2)]), slice("a-2", "a", &[ep(3)])],
    );
    index.update(&snapshot);
    snapshot.slices.insert(name("a-2"), slice("a-2", "a", &[ep(2), ep(3)]).into());
    assert_eq!(index.update(&snapshot), [], "it is in both slices");
    snapshot.slices.insert(name("a-1"), slice("a-1", "a", &[ep(1)]).into());
    assert_eq!(index.update(&snapshot), [], "it is in the other slice");
}

#[test]
fn slices_may_come_before_their_service_and_outlive_it() {
    let mut index = Index::new("here");
    let mut snapshot = snapshot(&[], &[slice("a-1", "a", &[ep(1)])]);
    assert_eq!(index.update(&snapshot), []);
    snapshot.services.insert(name("a"), service("a", 1).into());
    assert_eq!(summary(&index.update(&snapshot)), [("a".into(), Some(vec![1]))]);
    snapshot.services.remove(&name("a"));
    index.update(&snapshot);
    snapshot.services.insert(name("a"), service("a", 9).into());
    assert_eq!(summary(&index.update(&snapshot)), [("a".into(), Some(vec![1]))], "created again");
}

#[test]
fn a_slice_can_change_its_service() {
    let mut index = Index::new("here");
    let mut snapshot = snapshot(&[service("a", 1), service("b", 2)], &[slice("x", "a", &[ep(1)])]);
    index.update(&snapshot);
    snapshot.slices.insert(name("x"), slice("x", "b", &[ep(1)]).into());
    let changes = summary(&index.update(&snapshot));
    assert_eq!(changes, [("a".into(), Some(vec![])), ("b".into(), Some(vec![1]))]);
}

#[test]
fn a_slice_belongs_to_the_service_of_its_own_namespace() {
    let mut index = Index::new("here");
    let mut foreign = slice("a-1", "a", &[ep(1)]);
    foreign.service.namespace = "other".into();
    let snapshot = snapshot(&[service("a", 1)], &[foreign]);
    assert_eq!(summary(&index.update(&snapshot)), [("a".into(), Some(vec![]))]);
}

#[test]
fn hints_are_looked_at_again_when_the_node_changes_its_zone() {
    let mut index = Index::new("here");
    let hinted = [ep(1).zones(&["z1"]), ep(2).zones(&["z2"])];
    let mut snapshot = snapshot(&[service("a", 1)], &[slice("a-1", "a", &hinted)]);
    let chosen = |changes: &[Change]| -> Vec<IpAddr> {
        let resolved = changes[0].resolved.as_ref().unwrap();
        let backends = resolved.ports[0].backends.iter();
        backends.filter(|spec| spec.in_cluster_set).map(|spec| spec.ip).collect()
    };
    assert_eq!(chosen(&index.update(&snapshot)).len(), 2);
    for (zone, last) in [("z1", 1), ("z2", 2)] {
        let mut node = Node {
            uid: NodeUid("uid-here".into()),
            name: "here".to_owned(),
            created: None,
            pod_cidrs: Vec::new(),
            underlay_ips: Vec::new(),
            network_unavailable: false,
            zone: None,
        };
        node.zone = Some(zone.into());
        snapshot.nodes = Arc::new([(node.uid.clone(), Arc::new(node))].into());
        assert_eq!(chosen(&index.update(&snapshot)), [IpAddr::from([10, 244, 0, last])]);
        assert_eq!(index.update(&snapshot), []);
    }
}

#[test]
fn another_collection_is_compared_as_a_whole() {
    let mut index = Index::new("here");
    let services = [service("a", 1), service("b", 2)];
    index.update(&snapshot(&services, &[slice("a-1", "a", &[ep(1)])]));
    let other = snapshot(&services[..1], &[slice("a-2", "a", &[ep(1)])]);
    assert_eq!(summary(&index.update(&other)), [("b".into(), None)]);
}

#[test]
fn dual_stack_services_have_endpoints_of_both_families() {
    let mut index = Index::new("here");
    let mut dual = service("a", 1);
    dual.cluster_ips.push("fd00::1".parse().unwrap());
    let changes = index.update(&snapshot(&[dual], &[slice("a-1", "a", &[ep(1)])]));
    let ports = &changes[0].resolved.as_ref().unwrap().ports;
    let counts: Vec<_> = ports.iter().map(|port| (port.family, port.backends.len())).collect();
    assert_eq!(counts, [(Family::V4, 1), (Family::V6, 0)]);
}
