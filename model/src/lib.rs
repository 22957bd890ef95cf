//! The state of the cluster as far as the node's network depends on it: plain values, whatever
//! source they came from.

mod objects;
mod service;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::SystemTime};

use ipnetwork::IpNetwork;

pub use objects::{Mark, ObjectName, Objects};
pub use service::{
    Endpoint, EndpointSlice, Family, Protocol, Service, ServicePort, SlicePort, TrafficPolicy,
};

/// The identity of a node: `metadata.uid`. A node that was deleted and created again under the same
/// name, even with the same pod CIDR, is another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeUid(pub String);

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.uid`.
    pub uid: NodeUid,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp`; of two nodes that claim the same, the older one is right.
    pub created: Option<SystemTime>,
    /// `spec.podCIDRs`: at most one subnet of each family. Empty until the controller manager has
    /// assigned some.
    pub pod_cidrs: Vec<IpNetwork>,
    /// Addresses that other nodes reach it by: those of the annotation
    /// [`UNDERLAY_ANNOTATION`], else `status.addresses` of type `InternalIP`.
    pub underlay_ips: Vec<IpAddr>,
    /// `status.conditions` has `NetworkUnavailable` with status True, which keeps pods off the node.
    pub network_unavailable: bool,
    /// The label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// The label with a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Overrides a node's underlay addresses: one address or two of different families between commas.
pub const UNDERLAY_ANNOTATION: &str = "weir.dev/underlay-ip";

impl Node {
    /// Its subnet of a family.
    pub fn pod_cidr(&self, ipv4: bool) -> Option<IpNetwork> {
        self.pod_cidrs.iter().copied().find(|cidr| cidr.is_ipv4() == ipv4)
    }

    /// Its first underlay address of a family.
    pub fn underlay_ip(&self, ipv4: bool) -> Option<IpAddr> {
        self.underlay_ips.iter().copied().find(|ip| ip.is_ipv4() == ipv4)
    }
}

/// Nodes by identity.
pub type Nodes = BTreeMap<NodeUid, Arc<Node>>;

/// All that the source knows, at one time. Cheap to copy: everything is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The nodes.
    pub nodes: Arc<Nodes>,
    /// The Services; empty if the source does not follow them.
    pub services: Objects<Service>,
    /// The slices of their endpoints.
    pub slices: Objects<EndpointSlice>,
}

impl Snapshot {
    /// The node of this name; of several (a source may not forbid it) the oldest.
    pub fn node_named(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes
            .values()
            .filter(|node| node.name == name)
            .min_by_key(|node| (node.created.is_none(), node.created, &node.uid))
    }
}
