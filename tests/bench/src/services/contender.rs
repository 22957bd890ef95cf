//! The contenders, and the nodes that their clients are on.

use std::fmt::{self, Display, Formatter};

use clap::ValueEnum;
use serde::Serialize;

use super::kube_proxy::Mode;

/// What carries the packets of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contender {
    /// The baseline: a bridge and a tunnel without any rule; the pod's own address
    Bare,
    /// Weir's fast path; the pod's own address
    Direct,
    /// A Service by kube-proxy in its iptables mode
    Iptables,
    /// A Service by kube-proxy in its nftables mode
    Nftables,
    /// A Service by Weir without its fast path
    Slow,
    /// A Service by Weir
    Fast,
}

impl Contender {
    /// The mode of kube-proxy, if kube-proxy serves the Service.
    pub(crate) fn kube_proxy(self) -> Option<Mode> {
        match self {
            Self::Iptables => Some(Mode::Iptables),
            Self::Nftables => Some(Mode::Nftables),
            Self::Bare | Self::Direct | Self::Slow | Self::Fast => None,
        }
    }

    /// Whether the client connects to a Service.
    pub(crate) fn serves(self) -> bool {
        !matches!(self, Self::Bare | Self::Direct)
    }
}

impl Display for Contender {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bare => "bare network",
            Self::Direct => "weir, pod's address",
            Self::Iptables => "kube-proxy, iptables",
            Self::Nftables => "kube-proxy, nftables",
            Self::Slow => "weir, slow path",
            Self::Fast => "weir, fast path",
        })
    }
}

/// The node that the client is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// On the server's node
    SameNode,
    /// On another node, behind a tunnel
    AcrossNodes,
}

impl Place {
    pub(crate) const ALL: [Self; 2] = [Self::SameNode, Self::AcrossNodes];
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SameNode => "same node",
            Self::AcrossNodes => "across nodes",
        })
    }
}
