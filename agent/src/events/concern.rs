//! What an operator must act on, and what there is to do.

use std::{fmt, net::IpAddr};

use ipnetwork::IpNetwork;

use crate::headroom::{BRIDGE_PORTS, Thresholds};

/// Something that the agent cannot put right by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// This node has no subnet for its pods.
    PodCidrMissing,
    /// Two nodes claim the same pod addresses; the younger one is refused.
    PodCidrOverlap {
        /// The node that is not programmed.
        refused: String,
        /// What it claims.
        cidr: IpNetwork,
        /// The node that had it first.
        kept: String,
    },
    /// Two nodes claim the same underlay address; the younger one is refused.
    EndpointShared {
        /// The node that is not programmed.
        refused: String,
        /// What it claims.
        address: IpAddr,
        /// The node that had it first.
        kept: String,
    },
    /// A peer that must be reached without a tunnel is behind a router.
    EndpointNotOnLink {
        /// The peer.
        peer: String,
        /// Its underlay address.
        address: IpAddr,
        /// Our link that it is not on.
        link: String,
    },
    /// Rules of somebody else drop what pods send or receive.
    ForwardingDropped {
        /// Which, and the way out: see [`crate::forward`].
        finding: String,
    },
    /// The Node's condition `NetworkUnavailable` is True and cannot be set to False.
    NetworkUnavailable {
        /// What is in the way: see [`crate::availability`].
        obstacle: String,
    },
    /// The eBPF programs are not there, and so no Services.
    ServicesUnavailable {
        /// What is in the way: see [`crate::datapath`].
        obstacle: String,
    },
    /// The bridge cannot take many more pods, or none.
    BridgePortsScarce {
        /// The bridge.
        bridge: String,
        /// Whether no port is left.
        none_left: bool,
    },
    /// The kernel's neighbour table is too small for this node, and cannot be made larger.
    NeighbourTableSmall {
        /// Of IPv4, else of IPv6.
        ipv4: bool,
        /// What it should be.
        wanted: Thresholds,
        /// Why it cannot be set.
        obstacle: String,
    },
}

impl Concern {
    /// The Event's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PodCidrMissing => "PodCIDRMissing",
            Self::PodCidrOverlap { .. } => "PodCIDROverlap",
            Self::EndpointShared { .. } => "EndpointShared",
            Self::EndpointNotOnLink { .. } => "EndpointNotOnLink",
            Self::ForwardingDropped { .. } => "ForwardingDropped",
            Self::NetworkUnavailable { .. } => "NetworkUnavailable",
            Self::ServicesUnavailable { .. } => "ServicesUnavailable",
            Self::BridgePortsScarce { .. } => "BridgePortsScarce",
            Self::NeighbourTableSmall { .. } => "NeighbourTableSmall",
        }
    }

    /// What the agent was doing: the Event's action.
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::PodCidrMissing => "ConfigurePodNetwork",
            Self::PodCidrOverlap { .. }
            | Self::EndpointShared { .. }
            | Self::EndpointNotOnLink { .. } => "ProgramPeer",
            Self::ForwardingDropped { .. } => "CheckForwarding",
            Self::NetworkUnavailable { .. } => "SetCondition",
            Self::ServicesUnavailable { .. } => "LoadPrograms",
            Self::BridgePortsScarce { .. } | Self::NeighbourTableSmall { .. } => "CheckHeadroom",
        }
    }

    /// Whether it concerns this node and not just any that looks at the cluster.
    pub(super) fn is_for(&self, node: &str) -> bool {
        match self {
            Self::PodCidrOverlap { refused, kept, .. }
            | Self::EndpointShared { refused, kept, .. } => {
                [refused, kept].iter().any(|n| *n == node)
            }
            _ => true,
        }
    }

    /// The other node that it is about.
    pub(super) fn peer(&self) -> Option<&str> {
        match self {
            Self::PodCidrOverlap { refused: peer, .. }
            | Self::EndpointShared { refused: peer, .. }
            | Self::EndpointNotOnLink { peer, .. } => Some(peer),
            Self::PodCidrMissing
            | Self::ForwardingDropped { .. }
            | Self::NetworkUnavailable { .. }
            | Self::ServicesUnavailable { .. }
            | Self::BridgePortsScarce { .. }
            | Self::NeighbourTableSmall { .. } => None,
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
            Self::PodCidrOverlap { refused, cidr, kept } => write!(
                f,
                "podCIDR {cidr} of node {refused} overlaps that of the older node {kept}; {refused} \
                 is cut off from the pod network: delete the wrong Node object, so that the node \
                 registers again and is given another podCIDR",
            ),
            Self::EndpointShared { refused, address, kept } => write!(
                f,
                "node {refused} claims the address {address} of the older node {kept}; {refused} is \
                 cut off from the pod network: correct its address, or delete the Node object that \
                 stands for no machine",
            ),
            Self::EndpointNotOnLink { peer, address, link } => write!(
                f,
                "node {peer} at {address} is not on the network of {link}, so it cannot be reached \
                 without a tunnel: use the backend vxlan (with DirectRouting for those that can), \
                 or put the nodes on one network",
            ),
            Self::ForwardingDropped { finding } => f.write_str(finding),
            Self::NetworkUnavailable { obstacle } => write!(
                f,
                "the Node has the condition NetworkUnavailable=True, which keeps pods off, though \
                 its network is made; the agent cannot set it to False: {obstacle}"
            ),
            Self::ServicesUnavailable { obstacle } => write!(
                f,
                "the eBPF programs that serve Services are not in place: {obstacle}; pods reach \
                 each other, and Services only where something else serves them",
            ),
            Self::BridgePortsScarce { bridge, none_left } => write!(
                f,
                "{} of the {BRIDGE_PORTS} ports that the kernel gives a bridge are taken on \
                 {bridge}, and a pod needs one: let the kubelet take fewer pods (--max-pods, \
                 maxPods in its configuration)",
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
                write!(f, "; the agent cannot: {obstacle}")
            }
        }
    }
}
