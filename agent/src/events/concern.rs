//! The problems that an operator must solve, and how.

use std::{fmt, net::IpAddr, path::PathBuf};

use ipnetwork::IpNetwork;

use super::flow_table::FlowTable;
use crate::headroom::{BRIDGE_PORTS, Thresholds};

/// A problem that the agent cannot solve by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// This node has no subnet for its pods.
    PodCidrMissing,
    /// This node is no part of the pod network.
    NodeNotJoined {
        /// Why: see [`crate::overlay::plan::NotReady`], or the pods' bridge.
        obstacle: String,
    },
    /// The cluster's state is not known in full.
    ClusterStateIncomplete {
        /// The first problem: it names the object, or the file and its line.
        problem: String,
        /// How many other problems there are.
        others: usize,
    },
    /// Two nodes claim the same pod addresses; the newer one is refused.
    PodCidrOverlap {
        /// The node that is not programmed.
        refused: String,
        /// The subnet that it claims.
        cidr: IpNetwork,
        /// The older node, which keeps its subnet.
        kept: String,
    },
    /// Two nodes claim the same underlay address; the newer one is refused.
    EndpointShared {
        /// The node that is not programmed.
        refused: String,
        /// The address that it claims.
        address: IpAddr,
        /// The older node, which keeps the address.
        kept: String,
    },
    /// A peer that can be reached only without a tunnel is behind a router.
    EndpointNotOnLink {
        /// The peer.
        peer: String,
        /// Its underlay address.
        address: IpAddr,
        /// The uplink whose networks do not contain the address.
        link: String,
    },
    /// Another program's firewall rules drop traffic of pods.
    ForwardingDropped {
        /// The rules, and the commands that let the traffic pass: see [`crate::firewall_check`].
        finding: String,
    },
    /// The Node's condition `NetworkUnavailable` is True and cannot be set to False.
    NetworkUnavailable {
        /// Why it cannot be set: see [`crate::node_condition`].
        obstacle: String,
    },
    /// The nftables table cannot be written.
    TableOutdated {
        /// Why: see [`crate::masquerade`].
        obstacle: String,
    },
    /// The eBPF programs are not attached, so Services do not work.
    ServicesUnavailable {
        /// Why they cannot be attached: see [`crate::datapath`].
        obstacle: String,
    },
    /// Entries of the bridge's FDB were wrong. They have been set again.
    BridgeEntriesChanged {
        /// The bridge.
        bridge: String,
        /// How many.
        count: usize,
        /// The first one.
        example: String,
    },
    /// A pod has the MAC address of the bridge or of another pod.
    MacAddressShared {
        /// The MAC address.
        mac: String,
        /// Who has the bridge's entry.
        kept: String,
        /// The pod that gets no packets.
        cut_off: String,
    },
    /// Pods' interfaces have no endpoint record.
    EndpointRecordsLost {
        /// Where the records should be.
        directory: PathBuf,
        /// How many.
        count: usize,
        /// The name of one of them.
        example: String,
    },
    /// The bridge has few ports left for pods, or none.
    BridgePortsScarce {
        /// The bridge.
        bridge: String,
        /// Whether no port is left.
        none_left: bool,
    },
    /// The kernel's neighbour table is too small for this node, and the agent cannot enlarge it.
    NeighbourTableSmall {
        /// Whether it is the table of IPv4. Otherwise it is that of IPv6.
        ipv4: bool,
        /// The thresholds that it needs.
        wanted: Thresholds,
        /// Why the agent cannot set them.
        obstacle: String,
    },
    /// A table of flows is nearly full of established ones.
    FlowTableFilling {
        /// The table.
        table: FlowTable,
        /// How many flows it has room for.
        flows: usize,
    },
    /// Packets were dropped because a table of flows was full.
    FlowTableFull,
    /// The node's own check of sources drops packets of pods that route.
    SourceCheckStrict {
        /// The pods' bridge.
        bridge: String,
        /// Why the agent cannot change it.
        obstacle: String,
    },
}

impl Concern {
    /// The Event's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PodCidrMissing => "PodCIDRMissing",
            Self::NodeNotJoined { .. } => "NodeNotJoined",
            Self::ClusterStateIncomplete { .. } => "ClusterStateIncomplete",
            Self::PodCidrOverlap { .. } => "PodCIDROverlap",
            Self::EndpointShared { .. } => "EndpointShared",
            Self::EndpointNotOnLink { .. } => "EndpointNotOnLink",
            Self::ForwardingDropped { .. } => "ForwardingDropped",
            Self::NetworkUnavailable { .. } => "NetworkUnavailable",
            Self::TableOutdated { .. } => "NftablesTableOutdated",
            Self::ServicesUnavailable { .. } => "ServicesUnavailable",
            Self::BridgeEntriesChanged { .. } => "BridgeEntriesChanged",
            Self::MacAddressShared { .. } => "MACAddressShared",
            Self::EndpointRecordsLost { .. } => "EndpointRecordsLost",
            Self::BridgePortsScarce { .. } => "BridgePortsScarce",
            Self::NeighbourTableSmall { .. } => "NeighbourTableSmall",
            Self::FlowTableFilling { .. } => "FlowTableFilling",
            Self::FlowTableFull => "FlowTableFull",
            Self::SourceCheckStrict { .. } => "SourceCheckStrict",
        }
    }

    /// The Event's action: what the agent was doing.
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::PodCidrMissing | Self::NodeNotJoined { .. } => "ConfigurePodNetwork",
            Self::ClusterStateIncomplete { .. } => "ReadCluster",
            Self::PodCidrOverlap { .. }
            | Self::EndpointShared { .. }
            | Self::EndpointNotOnLink { .. } => "ProgramPeer",
            Self::ForwardingDropped { .. } => "CheckForwarding",
            Self::NetworkUnavailable { .. } => "SetCondition",
            Self::TableOutdated { .. } => "WriteTable",
            Self::ServicesUnavailable { .. } => "LoadPrograms",
            Self::BridgeEntriesChanged { .. }
            | Self::MacAddressShared { .. }
            | Self::EndpointRecordsLost { .. } => "CheckBridge",
            Self::BridgePortsScarce { .. }
            | Self::NeighbourTableSmall { .. }
            | Self::FlowTableFilling { .. }
            | Self::FlowTableFull => "CheckHeadroom",
            Self::SourceCheckStrict { .. } => "CheckForwarding",
        }
    }

    /// Whether this node reports it. Every node sees a conflict of two others.
    pub(super) fn is_for(&self, node: &str) -> bool {
        match self {
            Self::PodCidrOverlap { refused, kept, .. }
            | Self::EndpointShared { refused, kept, .. } => {
                [refused, kept].iter().any(|n| *n == node)
            }
            _ => true,
        }
    }

    /// The other node that is involved.
    pub(super) fn peer(&self) -> Option<&str> {
        match self {
            Self::PodCidrOverlap { refused: peer, .. }
            | Self::EndpointShared { refused: peer, .. }
            | Self::EndpointNotOnLink { peer, .. } => Some(peer),
            Self::PodCidrMissing
            | Self::NodeNotJoined { .. }
            | Self::ClusterStateIncomplete { .. }
            | Self::ForwardingDropped { .. }
            | Self::NetworkUnavailable { .. }
            | Self::TableOutdated { .. }
            | Self::ServicesUnavailable { .. }
            | Self::BridgeEntriesChanged { .. }
            | Self::MacAddressShared { .. }
            | Self::EndpointRecordsLost { .. }
            | Self::BridgePortsScarce { .. }
            | Self::NeighbourTableSmall { .. }
            | Self::FlowTableFilling { .. }
            | Self::FlowTableFull
            | Self::SourceCheckStrict { .. } => None,
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodCidrMissing => f.write_str(
                "the node has no spec.podCIDR, so its pods get no network: start \
                 kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr \
                 (kubeadm: networking.podSubnet), or set podCIDR on the Node",
            ),
            Self::NodeNotJoined { obstacle } => write!(
                f,
                "the node is no part of the pod network, and its pods reach no other node: {obstacle}; \
                 correct the cause, and the agent goes on by itself",
            ),
            Self::ClusterStateIncomplete { problem, others } => {
                write!(f, "the cluster's state is not known in full: {problem}")?;
                if *others > 0 {
                    write!(f, " (and {others} more, see the agent's log)")?;
                }
                f.write_str(
                    "; what was last known of it stays in use: correct the cause, and the agent goes \
                     on by itself",
                )
            }
            Self::PodCidrOverlap { refused, cidr, kept } => write!(
                f,
                "podCIDR {cidr} of node {refused} overlaps the podCIDR of the older node {kept}; \
                 {refused} is cut off from the pod network: delete the wrong Node object, so that \
                 the node registers again and gets another podCIDR",
            ),
            Self::EndpointShared { refused, address, kept } => write!(
                f,
                "node {refused} has the same address {address} as the older node {kept}; {refused} is \
                 cut off from the pod network: correct its address, or delete the Node object \
                 whose machine no longer exists",
            ),
            Self::EndpointNotOnLink { peer, address, link } => write!(
                f,
                "node {peer} at {address} is not on the network of {link}, so it cannot be reached \
                 without a tunnel: use the backend vxlan (DirectRouting avoids the tunnel where \
                 it can), or put the nodes on one network",
            ),
            Self::ForwardingDropped { finding } => f.write_str(finding),
            Self::NetworkUnavailable { obstacle } => write!(
                f,
                "the Node has the condition NetworkUnavailable=True, which keeps pods off the node \
                 although its network is ready; the agent cannot set it to False: {obstacle}"
            ),
            Self::TableOutdated { obstacle } => write!(
                f,
                "the nftables table inet weir of the node is not as it should be: {obstacle}; the \
                 tunnel may refuse packets of new nodes, or take packets of machines that are not \
                 nodes, and pods may not reach destinations outside of the cluster: correct the \
                 cause, and the agent writes the table within seconds",
            ),
            Self::ServicesUnavailable { obstacle } => write!(
                f,
                "the eBPF programs that serve Services are not loaded: {obstacle}; pods reach each \
                 other, but Services work only if another program serves them",
            ),
            Self::BridgeEntriesChanged { bridge, count, example } => write!(
                f,
                "frames did not reach whom they were for, because {count} of the FDB entries of \
                 bridge {bridge} were wrong ({example}); they are set again. If this repeats, find \
                 the program that changes them: bridge monitor fdb",
            ),
            Self::MacAddressShared { mac, kept, cut_off } => write!(
                f,
                "pod {cut_off} has the MAC address {mac} of {kept}, so it gets no packets: delete \
                 the pod, and request another MAC address for it, or none",
            ),
            Self::EndpointRecordsLost { directory, count, example } => write!(
                f,
                "{count} interfaces of pods have no record in {} ({example}), so what these pods need \
                 is not checked any more, nor repaired: find what removes files there, and delete \
                 the pods, so that they are created again",
                directory.display(),
            ),
            Self::BridgePortsScarce { bridge, none_left } => write!(
                f,
                "{} of the {BRIDGE_PORTS} ports that the kernel gives a bridge are taken on \
                 {bridge}, and each pod needs one: reduce the kubelet's limit of pods \
                 (--max-pods, maxPods in its configuration)",
                if *none_left { "all" } else { "nine tenths" },
            ),
            Self::NeighbourTableSmall { ipv4, wanted, obstacle } => {
                write!(
                    f,
                    "the kernel's neighbour table is too small for this node's pods and peers; \
                     when it is full, packets are lost. Set on the node"
                )?;
                for (key, value) in wanted.settings(*ipv4) {
                    write!(f, " {}={value}", key.replace('/', "."))?;
                }
                write!(f, "; the agent cannot set them: {obstacle}")
            }
            Self::FlowTableFilling { table, flows } => write!(
                f,
                "the {flows} flows that the map {table} has room for are nearly all taken by \
                 established ones; when it is full, new ones are dropped: find who holds them ({}), or \
                 raise the agent's --map-capacity={}=N, which needs the map's pinned files removed",
                table.listing(),
                table.option(),
            ),
            Self::SourceCheckStrict { bridge, obstacle } => write!(
                f,
                "packets of pods of --routing-namespaces that have addresses of others are dropped by \
                 the node's own check of sources: set on the node net.ipv4.conf.{bridge}.rp_filter=2; \
                 the agent cannot set it: {obstacle}"
            ),
            Self::FlowTableFull => f.write_str(
                "packets that begin a flow were dropped, because a map of flows is full of established \
                 ones (counter dropped_table_full): find the full map with weir status and who holds \
                 its flows with weir flows, or raise the agent's --map-capacity of flows-tcp or \
                 flows-datagram, which needs the map's pinned files removed",
            ),
        }
    }
}
