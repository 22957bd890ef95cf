//! The whole state at one time.

use std::sync::Arc;

use crate::node::{Node, Nodes};
use crate::objects::Objects;
use crate::service::{EndpointSlice, Service};

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
