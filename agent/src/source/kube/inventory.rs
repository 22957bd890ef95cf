//! What the watch has told so far: pure, fed with events.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use kube::runtime::watcher::Event;

use super::object::NodeObject;
use crate::model::{Node, World};
use crate::source::node::{Converted, NodeFields};

/// The nodes, and a list of them that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    current: Nodes,
    /// A new list; it takes the place of the current one when it is complete.
    incoming: Option<Nodes>,
    complete: bool,
    newest_version: u64,
}

#[derive(Debug, Default)]
struct Nodes {
    world: Arc<World>,
    /// By name, which the API server keeps unique.
    by_name: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    node: Arc<Node>,
    wrong: Vec<String>,
}

impl Inventory {
    /// Takes an event in.
    pub(super) fn handle(&mut self, event: Event<NodeObject>) {
        match event {
            Event::Init => self.incoming = Some(Nodes::default()),
            Event::InitApply(object) => {
                self.note_version(&object);
                self.incoming.get_or_insert_default().insert(&object);
            }
            Event::InitDone => {
                self.current = mem::take(&mut self.incoming).unwrap_or_default();
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

    /// The world, once a list has been complete.
    pub(super) fn world(&self) -> Option<Arc<World>> {
        self.complete.then(|| Arc::clone(&self.current.world))
    }

    /// Values that cannot be right.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.current.by_name.values().flat_map(|known| known.wrong.iter().cloned())
    }

    /// The newest version of any node that has been seen. Versions count the changes of the whole
    /// cluster.
    pub(super) fn newest_version(&self) -> u64 {
        self.newest_version
    }

    /// Forgets the versions: those to come are of another count.
    pub(super) fn forget_versions(&mut self) {
        self.newest_version = 0;
    }

    fn note_version(&mut self, object: &NodeObject) {
        let version =
            object.metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
        self.newest_version = self.newest_version.max(version.unwrap_or(0));
    }
}

impl Nodes {
    fn insert(&mut self, object: &NodeObject) {
        let Converted { node, wrong } = NodeFields::from(object).convert();
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        let old = self.by_name.get_mut(&node.name);
        if let Some(old) = &old
            && *old.node == node
        {
            // A node's heartbeat: nothing of it concerns the network.
            if old.wrong != wrong {
                self.by_name.insert(node.name.clone(), Known { node: node.into(), wrong });
            }
            return;
        }
        let nodes = Arc::make_mut(&mut Arc::make_mut(&mut self.world).nodes);
        if let Some(old) = old {
            // Deleted and created again under its name, it is another one.
            nodes.remove(&old.node.uid);
        }
        let node = Arc::new(node);
        nodes.insert(node.uid.clone(), Arc::clone(&node));
        self.by_name.insert(node.name.clone(), Known { node, wrong });
    }

    fn remove(&mut self, object: &NodeObject) {
        let node = NodeFields::from(object).convert().node;
        // Its successor of the same name stays.
        if self.by_name.get(&node.name).is_some_and(|known| known.node.uid == node.uid) {
            self.by_name.remove(&node.name);
            let world = Arc::make_mut(&mut self.world);
            Arc::make_mut(&mut world.nodes).remove(&node.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, uid: &str, version: u32) -> NodeObject {
        let json = serde_json::json!({
            "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string()},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        });
        serde_json::from_value(json).unwrap()
    }

    fn uids(inventory: &Inventory) -> Option<Vec<String>> {
        let world = inventory.world()?;
        Some(world.nodes.keys().map(|uid| uid.0.clone()).collect())
    }

    fn after(events: impl IntoIterator<Item = Event<NodeObject>>) -> Inventory {
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
    fn there_is_no_world_before_the_list_is_complete() {
        let mut events = listed([node("a", "1", 1), node("b", "2", 2)]);
        let done = events.pop().unwrap();
        let mut inventory = after(events);
        assert_eq!(uids(&inventory), None);
        inventory.handle(done);
        assert_eq!(uids(&inventory).unwrap(), ["1", "2"]);
    }

    #[test]
    fn a_new_list_replaces_the_world_only_when_it_is_complete() {
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
    fn a_heartbeat_is_no_new_world() {
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
        let before = inventory.world().unwrap();
        inventory.handle(Event::Apply(beat("2", "True", "2026-01-01T00:05:00Z")));
        assert!(Arc::ptr_eq(&before, &inventory.world().unwrap()));
        inventory.handle(Event::Apply(beat("3", "False", "2026-01-01T00:05:00Z")));
        assert_ne!(before, inventory.world().unwrap());
    }
}
