//! The input of the nftables table. Pure.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

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
    let tunnel = desired.tunnel.as_ref().map(|tunnel| TunnelEnd {
        port: tunnel.port,
        local: tunnel.local,
        peers: Arc::new(tunnel_sources(peers, tunnel.local.is_ipv4())),
    });
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

/// The addresses that tunnel packets of peers may come from. A peer with a direct route may still use
/// the tunnel, and a peer whose first address is on a link that is down uses the next one.
fn tunnel_sources(peers: &[Arc<Node>], ipv4: bool) -> BTreeSet<IpAddr> {
    let all = peers.iter().flat_map(|peer| peer.underlay_ips.iter().copied());
    all.filter(|ip| ip.is_ipv4() == ipv4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::peers::tests::node;

    #[test]
    fn a_peer_may_send_from_all_of_its_addresses_of_the_tunnels_family() {
        let peers = [
            Arc::new(node("a", 1, &["10.0.1.0/24"], &["192.0.2.1", "fd77::1", "192.0.2.11"])),
            Arc::new(node("b", 2, &["10.0.2.0/24"], &["fd77::2"])),
        ];
        let of = |ipv4| -> Vec<_> {
            tunnel_sources(&peers, ipv4).iter().map(ToString::to_string).collect()
        };
        assert_eq!(of(true), ["192.0.2.1", "192.0.2.11"]);
        assert_eq!(of(false), ["fd77::1", "fd77::2"]);
    }
}
