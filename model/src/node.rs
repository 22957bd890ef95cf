//! Nodes, as far as the pod network depends on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnetwork::IpNetwork;

/// The identity of a node: `metadata.uid`. A node that is deleted and created again under the same
/// name has another identity, even if it gets the same pod CIDR.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeUid(pub String);

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.uid`.
    pub uid: NodeUid,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp`. If two nodes claim the same address, the older node gets it.
    pub created: Option<SystemTime>,
    /// `spec.podCIDRs`: at most one subnet of each family. Empty until the controller manager has
    /// assigned them.
    pub pod_cidrs: Vec<IpNetwork>,
    /// The addresses by which other nodes reach this node: those of the annotation
    /// [`UNDERLAY_ANNOTATION`], or else `status.addresses` of type `InternalIP`.
    pub underlay_ips: Vec<IpAddr>,
    /// `status.conditions` has `NetworkUnavailable` with status True, which keeps pods off the
    /// node.
    pub network_unavailable: bool,
    /// The label [`ZONE_LABEL`].
    pub zone: Option<String>,
}

/// The label with a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Overrides a node's underlay addresses: one address, or two addresses of different families
/// separated by a comma.
pub const UNDERLAY_ANNOTATION: &str = "weir.dev/underlay-ip";

impl Node {
    /// The node's pod subnet of a family.
    pub fn pod_cidr(&self, ipv4: bool) -> Option<IpNetwork> {
        self.pod_cidrs.iter().copied().find(|cidr| cidr.is_ipv4() == ipv4)
    }

    /// The node's first underlay address of a family.
    pub fn underlay_ip(&self, ipv4: bool) -> Option<IpAddr> {
        self.underlay_ips.iter().copied().find(|ip| ip.is_ipv4() == ipv4)
    }
}

/// Nodes by identity.
pub type Nodes = BTreeMap<NodeUid, Arc<Node>>;
