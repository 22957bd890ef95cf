use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::kinds::{Kind, NodeObject, ServiceObject};
use crate::state_assembler::{
    ResourceEvent::{self, Applied, Deleted, ListBegun, ListComplete, Listed},
    StateAssembler,
};
use weir_model::{Nodes, Objects, Service};

/// The state of one kind and a snapshot of it alone.
struct State {
    kind: Kind,
    assembler: StateAssembler,
}

impl State {
    fn new(kind: Kind) -> Self {
        Self { kind, assembler: StateAssembler::new([kind]) }
    }

    fn after(kind: Kind, events: impl IntoIterator<Item = ResourceEvent>) -> Self {
        let mut state = Self::new(kind);
        state.handle(events);
        state
    }

    fn handle(&mut self, events: impl IntoIterator<Item = ResourceEvent>) {
        for event in events {
            self.assembler.handle(self.kind, event);
        }
    }

    fn nodes(&self) -> Arc<Nodes> {
        self.assembler.snapshot().unwrap().nodes
    }

    fn uids(&self) -> Vec<String> {
        self.nodes().keys().map(|uid| uid.0.clone()).collect()
    }

    fn services(&self) -> Objects<Service> {
        self.assembler.snapshot().unwrap().services
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.services().iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }
}

fn node(name: &str, uid: &str) -> DecodedObject {
    let json = json!({
        "metadata": {"name": name, "uid": uid},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    });
    DecodedObject::of(&serde_json::from_value::<NodeObject>(json).unwrap())
}

fn service(name: &str, uid: &str, spec: &Value) -> DecodedObject {
    let metadata = json!({"namespace": "ns", "name": name, "uid": uid});
    let json = json!({"metadata": metadata, "spec": spec});
    DecodedObject::of(&serde_json::from_value::<ServiceObject>(json).unwrap())
}

fn cluster_ip(ip: &str) -> Value {
    json!({"type": "ClusterIP", "clusterIP": ip, "ports": [{"port": 80}]})
}

fn list(objects: impl IntoIterator<Item = DecodedObject>) -> Vec<ResourceEvent> {
    let objects = objects.into_iter().map(Listed);
    [ListBegun].into_iter().chain(objects).chain([ListComplete]).collect()
}

#[test]
fn there_is_no_snapshot_before_the_list_is_complete() {
    let mut events = list([node("a", "1"), node("b", "2")]);
    let done = events.pop().unwrap();
    let mut state = State::after(Kind::Node, events);
    assert_eq!(state.assembler.snapshot(), None);
    state.handle([done]);
    assert_eq!(state.uids(), ["1", "2"]);
}

#[test]
fn a_new_list_replaces_the_snapshot_only_when_it_is_complete() {
    let mut state = State::after(Kind::Node, list([node("a", "1"), node("b", "2")]));
    state.handle([ListBegun, Listed(node("c", "3"))]);
    assert_eq!(state.uids(), ["1", "2"]);
    // The list broke off, and begins again.
    state.handle([ListBegun, Listed(node("b", "2")), ListComplete]);
    assert_eq!(state.uids(), ["2"]);
}

#[test]
fn a_node_that_was_created_again_replaces_its_predecessor() {
    let mut state = State::after(Kind::Node, list([node("a", "1")]));
    state.handle([Applied(node("a", "9"))]);
    assert_eq!(state.uids(), ["9"]);
    state.handle([Deleted(node("a", "1"))]);
    assert_eq!(state.uids(), ["9"], "a late deletion of the predecessor removes nothing");
    state.handle([Deleted(node("a", "9"))]);
    assert_eq!(state.uids(), [""; 0]);
}

#[test]
fn nodes_that_exchange_their_uids_in_a_new_list_both_stay() {
    let mut state = State::after(Kind::Node, list([node("a", "1"), node("b", "2")]));
    state.handle(list([node("a", "2"), node("b", "1")]));
    assert_eq!(state.uids(), ["1", "2"]);
    assert_eq!(state.nodes().values().next().unwrap().name, "b");
}

#[test]
fn a_heartbeat_does_not_change_the_snapshot() {
    let heartbeat = |network_unavailable: &str, at: &str| {
        let condition =
            |kind, status| json!({"type": kind, "status": status, "lastHeartbeatTime": at});
        let json = json!({
            "metadata": {"name": "a", "uid": "1"},
            "status": {"conditions": [
                condition("NetworkUnavailable", network_unavailable), condition("Ready", "True"),
            ]},
        });
        DecodedObject::of(&serde_json::from_value::<NodeObject>(json).unwrap())
    };
    let mut state = State::after(Kind::Node, list([heartbeat("True", "2026-01-01T00:00:00Z")]));
    let before = state.nodes();
    state.handle([Applied(heartbeat("True", "2026-01-01T00:05:00Z"))]);
    assert!(Arc::ptr_eq(&before, &state.nodes()));
    state.handle([Applied(heartbeat("False", "2026-01-01T00:05:00Z"))]);
    assert_ne!(before, state.nodes());
}

#[test]
fn a_service_that_becomes_an_external_name_is_removed_and_comes_back() {
    let mut state =
        State::after(Kind::Service, list([service("a", "1", &cluster_ip("10.96.0.1"))]));
    assert_eq!(state.names(), ["ns/a"]);
    let alias = json!({"type": "ExternalName", "externalName": "example.org"});
    state.handle([Applied(service("a", "1", &alias))]);
    assert_eq!(state.names(), [""; 0]);
    state.handle([Applied(service("a", "1", &cluster_ip("10.96.0.2")))]);
    assert_eq!(state.names(), ["ns/a"]);
}

#[test]
fn a_list_that_is_read_again_changes_only_what_is_different() {
    let services = |ip: &str| {
        list([service("a", "1", &cluster_ip("10.96.0.1")), service("b", "2", &cluster_ip(ip))])
    };
    let mut state = State::after(Kind::Service, services("10.96.0.2"));
    let revision = state.services().revision();
    state.handle(services("10.96.0.3"));
    let services = state.services();
    let changed: Vec<_> =
        services.changed_since(&revision).unwrap().map(ToString::to_string).collect();
    assert_eq!(changed, ["ns/b"]);
}

#[test]
fn an_invalid_value_is_reported_until_it_is_corrected_or_deleted() {
    let mut state = State::after(Kind::Service, list([]));
    let invalid = || service("a", "1", &cluster_ip("here"));
    let mut count_after = |event| {
        state.handle([event]);
        state.assembler.state(Kind::Service).invalid().count()
    };
    assert_eq!(count_after(Applied(invalid())), 1);
    assert_eq!(count_after(Applied(service("a", "1", &cluster_ip("10.96.0.1")))), 0);
    assert_eq!(count_after(Applied(invalid())), 1);
    assert_eq!(count_after(Deleted(invalid())), 0);
}
