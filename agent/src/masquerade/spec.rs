//! The input of the table.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

/// The input of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// The node's own pod subnets. Only traffic from these is masqueraded, so that the pod's own node
    /// decides.
    pub local_pod_cidrs: Vec<IpNetwork>,
    /// The pod networks of the whole cluster. Traffic to these keeps the pod's address. The local
    /// subnets need not be among them.
    pub pod_networks: Vec<IpNetwork>,
    /// Nodes that pods reach with their own address. This works only if the underlay routes pod
    /// subnets (host-gw). With a tunnel, such a packet would leave the uplink with a pod's source
    /// address, and the other node's reverse path filter or the cloud's source check would drop it.
    pub direct_nodes: Vec<IpAddr>,
    /// Other destinations that pods reach with their own address.
    pub no_masquerade_cidrs: Vec<IpNetwork>,
    /// Whether pods' traffic out of the cluster is masqueraded at all. The marks have effect in
    /// either case.
    pub ip_masq: bool,
    /// This node's end of the tunnel, if there is one.
    pub tunnel: Option<TunnelEnd>,
    /// The bridge of the pods. A packet that leaves through it goes to a local pod, also when
    /// `bridge-nf-call-iptables` passes bridged frames to these rules.
    pub bridge: String,
    /// The bits that the eBPF data path sets, if it is loaded.
    pub marks: Option<Marks>,
}

impl Masquerade {
    /// The addresses of other nodes that the tunnel's port is open to.
    pub fn peers(&self) -> Option<&Arc<BTreeSet<IpAddr>>> {
        self.tunnel.as_ref().map(|tunnel| &tunnel.peers)
    }

    /// The same input with other peers: all that the rules depend on.
    pub(super) fn with_peers(&self, peers: Arc<BTreeSet<IpAddr>>) -> Self {
        let tunnel = self.tunnel.clone().map(|tunnel| TunnelEnd { peers, ..tunnel });
        Self { tunnel, ..self.clone() }
    }
}

/// This node's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelEnd {
    /// The UDP port, the same on every node.
    pub port: u16,
    /// The address that other nodes send the tunnel's outer packets to.
    pub local: IpAddr,
    /// The addresses that other nodes send them from, all of the family of `local`.
    pub peers: Arc<BTreeSet<IpAddr>>,
}

/// Bits of a packet's mark, each a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Masquerade this packet's flow.
    pub masquerade: u32,
    /// Never masquerade this packet: it is a reply of a known flow.
    pub reply: u32,
    /// Reject this packet as if the port were closed.
    pub reject: u32,
}

impl Marks {
    /// All bits.
    pub const fn all(self) -> u32 {
        self.masquerade | self.reply | self.reject
    }
}
