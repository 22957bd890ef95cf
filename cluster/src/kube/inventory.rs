//! What the watch has told so far: pure, fed with events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::runtime::watcher::Event;

use super::followed::{Contents, Followed};
use weir_model::ObjectName;

/// The objects of one kind, and a list of them that is not complete yet.
#[derive(Debug)]
pub(super) struct Inventory<K: Followed> {
    current: Listed<K>,
    /// A new list; it takes the place of the current one when it is complete.
    incoming: Option<Listed<K>>,
    complete: bool,
    newest_version: u64,
}

#[derive(Debug)]
struct Listed<K: Followed> {
    contents: K::Contents,
    known: HashMap<ObjectName, Known<<K::Contents as Contents>::Object>>,
    /// Values that cannot be right, by object.
    wrong: BTreeMap<ObjectName, Vec<String>>,
}

#[derive(Debug)]
struct Known<O> {
    uid: Option<String>,
    /// None if it is not for us.
    object: Option<Arc<O>>,
}

impl<K: Followed> Default for Inventory<K> {
    fn default() -> Self {
        Self { current: Listed::default(), incoming: None, complete: false, newest_version: 0 }
    }
}

impl<K: Followed> Default for Listed<K> {
    fn default() -> Self {
        Self { contents: K::Contents::default(), known: HashMap::new(), wrong: BTreeMap::new() }
    }
}

impl<K: Followed> Inventory<K> {
    /// Takes an event in.
    pub(super) fn handle(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.incoming = Some(Listed::default()),
            Event::InitApply(object) => {
                self.note_version(&object);
                self.incoming.get_or_insert_default().insert(&object);
            }
            Event::InitDone => {
                let Listed { contents, known, wrong } = self.incoming.take().unwrap_or_default();
                self.current.contents.become_list(contents);
                (self.current.known, self.current.wrong) = (known, wrong);
                self.complete = true;
            }
            Event::Apply(object) => {
                self.note_version(&object);
                self.current.insert(&object);
            }
            Event::Delete(object) => {
                self.note_version(&object);
                self.current.remove(&object);
            }
        }
    }

    /// The objects, once a list has been complete.
    pub(super) fn contents(&self) -> Option<&K::Contents> {
        self.complete.then_some(&self.current.contents)
    }

    /// Values that cannot be right.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &String> {
        self.current.wrong.values().flatten()
    }

    /// The newest version of any object that has been seen. Versions count the changes of the whole
    /// cluster.
    pub(super) fn newest_version(&self) -> u64 {
        self.newest_version
    }

    /// Forgets the versions: those to come are of another count.
    pub(super) fn forget_versions(&mut self) {
        self.newest_version = 0;
    }

    fn note_version(&mut self, object: &K) {
        let version = object.meta().resource_version.as_deref().and_then(|text| text.parse().ok());
        self.newest_version = self.newest_version.max(version.unwrap_or(0));
    }
}

impl<K: Followed> Listed<K> {
    fn insert(&mut self, object: &K) {
        let name = object.object_name();
        let (new, wrong) = object.object();
        if wrong.is_empty() {
            self.wrong.remove(&name);
        } else {
            self.wrong.insert(name.clone(), wrong);
        }
        let uid = object.meta().uid.clone();
        let old = self.known.get(&name);
        let is_same = |old: &Known<_>| old.uid == uid && old.object.as_deref() == new.as_ref();
        if old.is_some_and(is_same) {
            // As a node's heartbeat: nothing of it concerns the network.
            return;
        }
        let new = new.map(Arc::new);
        self.contents.turn(old.and_then(|old| old.object.as_ref()), new.as_ref());
        self.known.insert(name, Known { uid, object: new });
    }

    fn remove(&mut self, object: &K) {
        let name = object.object_name();
        // Its successor of the same name stays.
        if self.known.get(&name).is_none_or(|known| known.uid != object.meta().uid) {
            return;
        }
        let old = self.known.remove(&name).and_then(|known| known.object);
        self.contents.turn(old.as_ref(), None);
        self.wrong.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::NodeObject;
    use super::*;
    use crate::service::ServiceObject;
    use weir_model::{Objects, Service};

    fn node(name: &str, uid: &str, version: u32) -> NodeObject {
        let json = serde_json::json!({
            "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string()},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        });
        serde_json::from_value(json).unwrap()
    }

    fn uids(inventory: &Inventory<NodeObject>) -> Option<Vec<String>> {
        Some(inventory.contents()?.keys().map(|uid| uid.0.clone()).collect())
    }

    fn after(events: impl IntoIterator<Item = Event<NodeObject>>) -> Inventory<NodeObject> {
        let mut inventory = Inventory::default();
        for event in events {
            inventory.handle(event);
        }
        inventory
    }

    fn listed(nodes: impl IntoIterator<Item = NodeObject>) -> Vec<Event<NodeObject>> {
        let nodes = nodes.into_iter().map(Event::InitApply);
        [Event::Init].into_iter().chain(nodes).chain([Event::InitDone]).collect()
    }

    #[test]
    fn there_is_no_snapshot_before_the_list_is_complete() {
        let mut events = listed([node("a", "1", 1), node("b", "2", 2)]);
        let done = events.pop().unwrap();
        let mut inventory = after(events);
        assert_eq!(uids(&inventory), None);
        inventory.handle(done);
        assert_eq!(uids(&inventory).unwrap(), ["1", "2"]);
    }

    #[test]
    fn a_new_list_replaces_the_snapshot_only_when_it_is_complete() {
        let mut inventory = after(listed([node("a", "1", 1), node("b", "2", 2)]));
        inventory.handle(Event::Init);
        inventory.handle(Event::InitApply(node("c", "3", 3)));
        assert_eq!(uids(&inventory).unwrap(), ["1", "2"]);
        // Broken off, and begun again.
        inventory.handle(Event::Init);
        inventory.handle(Event::InitApply(node("b", "2", 2)));
        inventory.handle(Event::InitDone);
        assert_eq!(uids(&inventory).unwrap(), ["2"]);
    }

    #[test]
    fn a_node_that_was_created_again_replaces_its_predecessor() {
        let mut inventory = after(listed([node("a", "1", 1)]));
        inventory.handle(Event::Apply(node("a", "9", 5)));
        assert_eq!(uids(&inventory).unwrap(), ["9"]);
        inventory.handle(Event::Delete(node("a", "1", 4)));
        assert_eq!(uids(&inventory).unwrap(), ["9"], "a late deletion removes nothing of it");
        inventory.handle(Event::Delete(node("a", "9", 6)));
        assert_eq!(uids(&inventory).unwrap(), [""; 0]);
        assert_eq!(inventory.newest_version(), 6);
    }

    #[test]
    fn a_heartbeat_is_no_new_snapshot() {
        let beat = |version, network_unavailable: &str, at: &str| -> NodeObject {
            let condition = |kind, status| serde_json::json!({"type": kind, "status": status, "lastHeartbeatTime": at});
            let json = serde_json::json!({
                "metadata": {"name": "a", "uid": "1", "resourceVersion": version},
                "status": {"conditions": [
                    condition("NetworkUnavailable", network_unavailable), condition("Ready", "True"),
                ]},
            });
            serde_json::from_value(json).unwrap()
        };
        let mut inventory = after(listed([beat("1", "True", "2026-01-01T00:00:00Z")]));
        let before = Arc::clone(inventory.contents().unwrap());
        inventory.handle(Event::Apply(beat("2", "True", "2026-01-01T00:05:00Z")));
        assert!(Arc::ptr_eq(&before, inventory.contents().unwrap()));
        inventory.handle(Event::Apply(beat("3", "False", "2026-01-01T00:05:00Z")));
        assert_ne!(before, *inventory.contents().unwrap());
    }

    fn service(name: &str, uid: &str, spec: &serde_json::Value) -> ServiceObject {
        let metadata = serde_json::json!({"namespace": "ns", "name": name, "uid": uid});
        serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn cluster_ip(ip: &str) -> serde_json::Value {
        serde_json::json!({"type": "ClusterIP", "clusterIP": ip, "ports": [{"port": 80}]})
    }

    fn names(services: &Objects<Service>) -> Vec<String> {
        let mut names: Vec<_> = services.iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_service_that_becomes_an_external_name_goes_and_comes_back() {
        let mut inventory = Inventory::<ServiceObject>::default();
        let list = [service("a", "1", &cluster_ip("10.96.0.1"))];
        [Event::Init]
            .into_iter()
            .chain(list.map(Event::InitApply))
            .chain([Event::InitDone])
            .for_each(|event| inventory.handle(event));
        assert_eq!(names(inventory.contents().unwrap()), ["ns/a"]);
        let alias = serde_json::json!({"type": "ExternalName", "externalName": "example.org"});
        inventory.handle(Event::Apply(service("a", "1", &alias)));
        assert_eq!(names(inventory.contents().unwrap()), [""; 0]);
        inventory.handle(Event::Apply(service("a", "1", &cluster_ip("10.96.0.2"))));
        assert_eq!(names(inventory.contents().unwrap()), ["ns/a"]);
    }

    #[test]
    fn a_list_that_is_read_again_changes_only_what_is_different() {
        let mut inventory = Inventory::<ServiceObject>::default();
        let list = |ip: &str| {
            let list =
                [service("a", "1", &cluster_ip("10.96.0.1")), service("b", "2", &cluster_ip(ip))];
            [Event::Init].into_iter().chain(list.map(Event::InitApply)).chain([Event::InitDone])
        };
        list("10.96.0.2").for_each(|event| inventory.handle(event));
        let mark = inventory.contents().unwrap().revision();
        list("10.96.0.3").for_each(|event| inventory.handle(event));
        let services = inventory.contents().unwrap();
        let changed: Vec<_> =
            services.changed_since(&mark).unwrap().map(ToString::to_string).collect();
        assert_eq!(changed, ["ns/b"]);
    }

    #[test]
    fn a_value_that_is_wrong_is_told_as_long_as_it_is_there() {
        let mut inventory = Inventory::<ServiceObject>::default();
        inventory.handle(Event::InitDone);
        let wrong = |inventory: &Inventory<ServiceObject>| inventory.wrong().count();
        inventory.handle(Event::Apply(service("a", "1", &cluster_ip("here"))));
        assert_eq!(wrong(&inventory), 1);
        inventory.handle(Event::Apply(service("a", "1", &cluster_ip("10.96.0.1"))));
        assert_eq!(wrong(&inventory), 0);
        inventory.handle(Event::Apply(service("a", "1", &cluster_ip("here"))));
        inventory.handle(Event::Delete(service("a", "1", &cluster_ip("here"))));
        assert_eq!(wrong(&inventory), 0);
    }
}
