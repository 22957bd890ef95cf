//! The traffic that foreign firewalls must accept.

use ipnetwork::IpNetwork;

use super::chain::{Packet, Rules};

/// The traffic that must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTraffic {
    /// The pod networks of the whole cluster.
    pub pod_networks: Vec<IpNetwork>,
    /// The bridge of the pods.
    pub bridge: String,
    /// The tunnel device, if there is one.
    pub overlay: Option<String>,
}

impl PodTraffic {
    /// The pod networks whose packets between nodes are dropped by `chain`, when they leave this node
    /// or arrive at it.
    pub(super) fn networks_dropped_by(
        &self,
        rules: &Rules,
        chain: &str,
        family: Option<bool>,
    ) -> Vec<IpNetwork> {
        let (bridge, overlay) = (Some(self.bridge.as_str()), self.overlay.as_deref());
        let is_dropped = |network: &IpNetwork| {
            [(bridge, overlay), (overlay, bridge)].into_iter().any(|(input, output)| {
                let packet = Packet { source: *network, destination: *network, input, output };
                rules.drops(chain, &packet)
            })
        };
        let of_family = |network: &&IpNetwork| family.is_none_or(|ipv4| network.is_ipv4() == ipv4);
        let mut networks: Vec<_> =
            self.pod_networks.iter().filter(of_family).copied().filter(is_dropped).collect();
        networks.sort();
        networks.dedup();
        networks
    }
}
