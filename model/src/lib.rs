//! The state of the cluster as far as a node's network depends on it.
//!
//! These are plain values. They do not depend on the source that they were read from, and any other
//! crate may use them.

mod node;
mod object_name;
mod objects;
mod service;
mod snapshot;

pub use node::{Node, NodeUid, Nodes, UNDERLAY_ANNOTATION, ZONE_LABEL};
pub use object_name::ObjectName;
pub use objects::{Objects, Revision};
pub use service::{
    Endpoint, EndpointSlice, Family, Protocol, Service, ServicePort, SlicePort, TrafficPolicy,
};
pub use snapshot::Snapshot;
