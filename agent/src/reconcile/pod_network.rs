//! The pod network as this node sees it. Pure.

use ipnet::IpNet;
use ipnetwork::IpNetwork;

use weir_model::{Node, Snapshot};

use crate::{
    install::PodNetwork,
    net_conf::NetConf,
    overlay::plan::{Desired, enabled},
};

/// The pod network of the node `own`. A network that the configuration does not name is the union of
/// the nodes' subnets.
pub(super) fn build(
    conf: &NetConf,
    snapshot: &Snapshot,
    own: &Node,
    desired: &Desired,
    ip_masq: bool,
) -> PodNetwork {
    let of_all = |ipv4: bool, configured: Option<IpNetwork>| match configured {
        Some(network) => vec![network],
        None => union(snapshot.nodes.values().filter_map(|node| node.pod_cidr(ipv4))),
    };
    let mut networks = Vec::new();
    if conf.enable_ipv4 {
        networks.extend(of_all(true, conf.network));
    }
    if conf.enable_ipv6 {
        networks.extend(of_all(false, conf.ipv6_network));
    }
    PodNetwork { subnets: enabled(conf, own).collect(), networks, mtu: desired.pod_mtu, ip_masq }
}

/// The fewest networks with the same addresses, so that the firewall's sets do not grow with the
/// number of nodes.
fn union(networks: impl Iterator<Item = IpNetwork>) -> Vec<IpNetwork> {
    let nets: Vec<IpNet> = networks
        .filter_map(|network| IpNet::new(network.network(), network.prefix()).ok())
        .collect();
    let merged = IpNet::aggregate(&nets);
    merged.iter().filter_map(|net| IpNetwork::new(net.addr(), net.prefix_len()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_subnets_become_one_network() {
        let cidrs = ["10.0.0.0/24", "10.0.1.0/24", "10.0.3.0/24", "fd00::/64", "fd00:0:0:1::/64"];
        let merged = union(cidrs.iter().map(|cidr| cidr.parse().unwrap()));
        let merged: Vec<_> = merged.iter().map(IpNetwork::to_string).collect();
        assert_eq!(merged, ["10.0.0.0/23", "10.0.3.0/24", "fd00::/63"]);
    }
}
