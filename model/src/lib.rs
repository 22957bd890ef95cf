//! The state of the cluster as far as a node's network depends on it.
//!
//! These are plain values. They do not depend on the source that they were read from, and any other
//! crate may use them.

mod node;
mod object_name;
mod objects;
mod service;

use std::sync::Arc;

pub use node::{Node, NodeUid, Nodes, UNDERLAY_ANNOTATION, ZONE_LABEL};
pub use object_name::ObjectName;
pub use objects::{Objects, Revision};
pub use service::{
    Endpoint, EndpointSlice, Family, Protocol, Service, ServicePort, SlicePort, TrafficPolicy,
};

/// Everything that the source knows at one time. A copy is cheap, because everything is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The nodes.
    pub nodes: Arc<Nodes>,
    /// The Services. Empty if the source does not watch them.
    pub services: Objects<Service>,
    /// The EndpointSlices of the Services.
    pub slices: Objects<EndpointSlice>,
}

impl Snapshot {
    /// The node with this name. A source may have several nodes with one name; this is the oldest.
    pub fn node_named(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes
            .values()
            .filter(|node| node.name == name)
            .min_by_key(|node| (node.created.is_none(), node.created, &node.uid))
    }
}
