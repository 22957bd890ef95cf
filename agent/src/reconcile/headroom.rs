//! Compares the node with the kernel's limits, and raises the limits that can be raised.

use std::{collections::BTreeSet, sync::Arc};

use ipnetwork::IpNetwork;
use tracing::{info, warn};
use weir_netlink::{Error, Netlink, link, sysctl};

use weir_model::Node;

use crate::{
    events::Concern,
    headroom::{PortsLeft, Thresholds, keys, neighbours_needed, ports_left},
    health::Health,
    install::PodNetwork,
    underlay::Uplink,
};

/// A check of the node against the kernel's limits: what takes room there.
pub(super) struct HeadroomCheck<'a> {
    pub(super) bridge: &'a str,
    pub(super) network: &'a PodNetwork,
    pub(super) peers: &'a [Arc<Node>],
    pub(super) uplinks: &'a [Uplink],
}

impl HeadroomCheck<'_> {
    /// Measures, updates `health`, and returns what only an operator can solve.
    pub(super) async fn run(
        &self,
        netlink: &Netlink,
        health: &Health,
    ) -> Result<BTreeSet<Concern>, Error> {
        let bridge = link::find(netlink, self.bridge).await?;
        let ports = match bridge {
            Some(bridge) => link::list_ports(netlink, bridge.index).await?.len(),
            // The plugin creates the bridge with the first pod.
            None => 0,
        };
        health.record_bridge_ports(ports);
        let scarce =
            |none_left| Concern::BridgePortsScarce { bridge: self.bridge.to_owned(), none_left };
        let mut concerns = match ports_left(ports) {
            PortsLeft::Enough => BTreeSet::new(),
            PortsLeft::Few => [scarce(false)].into(),
            PortsLeft::None => [scarce(true)].into(),
        };
        for ipv4 in [true, false] {
            concerns.extend(self.ensure_neighbours_fit(ipv4, ports, health));
        }
        Ok(concerns)
    }

    fn ensure_neighbours_fit(&self, ipv4: bool, ports: usize, health: &Health) -> Option<Concern> {
        let has_family = |subnet: &IpNetwork| subnet.is_ipv4() == ipv4;
        let pods = if self.network.subnets.iter().any(has_family) { ports } else { 0 };
        let peers = self.peers.iter().filter(|peer| self.is_neighbour(peer, ipv4)).count();
        let needed = neighbours_needed(peers, pods);
        let found = match thresholds(ipv4) {
            Ok(found) => found?,
            Err(error) => {
                warn!(%error, "cannot check whether the neighbour table is large enough");
                return None;
            }
        };
        let Some(wanted) = found.raised_for(needed) else {
            health.record_neighbours(ipv4, needed, found.limit());
            return None;
        };
        let outcome = wanted.settings(ipv4).try_for_each(|(key, value)| {
            sysctl::ensure(&key, &value.to_string())?;
            info!(key, value, needed, "set a kernel parameter");
            Ok::<_, Error>(())
        });
        let limit = if outcome.is_ok() { wanted.limit() } else { found.limit() };
        health.record_neighbours(ipv4, needed, limit);
        let obstacle = with_cause(&outcome.err()?);
        Some(Concern::NeighbourTableSmall { ipv4, wanted, obstacle })
    }

    /// Whether packets to a peer go to the peer itself and not to a router: its address then takes a
    /// neighbour entry.
    fn is_neighbour(&self, peer: &Node, ipv4: bool) -> bool {
        let address = peer.underlay_ip(ipv4);
        address.is_some_and(|ip| self.uplinks.iter().any(|uplink| uplink.is_on_link(ip)))
    }
}

/// The thresholds of a family. `None` if the kernel does not support the family, or in another
/// network namespace than the initial one, where they cannot be read.
fn thresholds(ipv4: bool) -> Result<Option<Thresholds>, Error> {
    let mut found = [0; 3];
    for (value, key) in found.iter_mut().zip(keys(ipv4)) {
        let text = match sysctl::read(&key) {
            Err(error) if error.is_not_found() => return Ok(None),
            outcome => outcome?,
        };
        // The kernel accepts a negative value, which means no limit.
        *value = text.parse().unwrap_or(0);
    }
    Ok(Some(Thresholds(found)))
}

fn with_cause(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}
