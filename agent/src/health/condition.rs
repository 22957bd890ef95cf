//! The conditions of readiness.

use std::fmt;

/// A condition that must be met before the node can run pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The source has published a snapshot. Read from its channel.
    ClusterSeen,
    /// This node has subnets for its pods.
    SubnetsAssigned,
    /// This node can be part of the pod network: it has an address on a link that is up, and may use the
    /// pods' bridge.
    NodeJoined,
    /// Every known peer is programmed in the kernel. Set from the reports of passes.
    PeersProgrammed,
    /// The entries of the pods' bridge lead to the node and to its pods.
    BridgeEntriesSet,
    /// The nftables table is as it should be.
    TableWritten,
    /// The eBPF programs are loaded and attached, if Services are enabled.
    ProgramsAttached,
    /// The Services of the snapshot are in the maps, if Services are enabled.
    ServicesProgrammed,
    /// Flows whose time is over are removed from the maps, if Services are enabled.
    FlowsSwept,
    /// The CNI configuration is written.
    ConfigurationWritten,
}

impl Condition {
    pub(super) const ALL: [Self; 10] = [
        Self::ClusterSeen,
        Self::SubnetsAssigned,
        Self::NodeJoined,
        Self::PeersProgrammed,
        Self::BridgeEntriesSet,
        Self::TableWritten,
        Self::ProgramsAttached,
        Self::ServicesProgrammed,
        Self::FlowsSwept,
        Self::ConfigurationWritten,
    ];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterSeen => "cluster-seen",
            Self::SubnetsAssigned => "subnets-assigned",
            Self::NodeJoined => "node-joined",
            Self::PeersProgrammed => "peers-programmed",
            Self::BridgeEntriesSet => "bridge-entries-set",
            Self::TableWritten => "table-written",
            Self::ProgramsAttached => "programs-attached",
            Self::ServicesProgrammed => "services-programmed",
            Self::FlowsSwept => "flows-swept",
            Self::ConfigurationWritten => "configuration-written",
        })
    }
}
