//! The input of the nftables table. Pure.

use std::sync::Arc;

use weir_model::Node;

use crate::{
    install::PodNetwork,
    masquerade::{Marks, Masquerade, TunnelEnd},
    options::Options,
    overlay::plan::Desired,
};

/// The input for the node `own`; `sets_marks` says whether eBPF programs may set marks.
pub(super) fn wanted(
    options: &Options,
    desired: &Desired,
    own: &Node,
    peers: &[Arc<Node>],
    network: &PodNetwork,
    sets_marks: bool,
) -> Masquerade {
    let tunnel =
        desired.tunnel.as_ref().map(|tunnel| TunnelEnd { port: tunnel.port, local: tunnel.local });
    // Without a tunnel, the underlay routes the pods' addresses.
    let direct_nodes = if tunnel.is_some() {
        Vec::new()
    } else {
        let nodes = peers.iter().map(Arc::as_ref).chain([own]);
        nodes.flat_map(|node| node.underlay_ips.clone()).collect()
    };
    Masquerade {
        local_pod_cidrs: network.subnets.clone(),
        pod_networks: network.networks.clone(),
        direct_nodes,
        no_masquerade_cidrs: options.no_masquerade_cidr.clone(),
        ip_masq: network.ip_masq,
        tunnel,
        bridge: options.bridge.clone(),
        marks: sets_marks.then_some(Marks {
            masquerade: options.masquerade_mark,
            reply: options.reply_mark,
            reject: options.reject_mark,
        }),
    }
}
