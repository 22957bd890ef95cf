//! What a node has for the others: routes, neighbours and forwarding entries, as they are and as
//! they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;

use super::manifest::NodeManifest;
use super::settings::Mode;
use crate::lab::namespaces::Stack;
use crate::lab::observe::Observe;

/// The tunnel's device.
pub(super) const TUNNEL: &str = "weir.1";
/// The number that marks the agent's routes.
const PROTOCOL: &str = "87";

/// How a subnet is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a route to the other node's address.
    Direct,
    /// By a route, a neighbour and a forwarding entry of the tunnel.
    Tunnel,
    /// Not at all: only a direct way is allowed, and there is none.
    None,
}

/// The entries of a node for its peers, comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Subnet, next hop, device.
    pub routes: BTreeSet<(String, IpAddr, String)>,
    /// Of the tunnel: next hop and its hardware address.
    pub neighbours: BTreeMap<IpAddr, String>,
    /// Of the tunnel: hardware address and the node that it is behind.
    pub forwarding: BTreeSet<(String, IpAddr)>,
}

impl Entries {
    /// What the kernel has.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn of(node: &impl Stack) -> Result<Self> {
        let mut entries = Self::default();
        for route in node.routes()? {
            if let (PROTOCOL, Some(via), Some(dev)) = (&*route.protocol, route.gateway, route.dev) {
                entries.routes.insert((route.dst, via, dev));
            }
        }
        if node.find_link(TUNNEL)?.is_none() {
            return Ok(entries);
        }
        for neighbour in node.neighbours(TUNNEL)? {
            if let (true, Some(mac)) = (neighbour.is_permanent(), neighbour.mac) {
                entries.neighbours.insert(neighbour.dst, mac);
            }
        }
        for entry in node.fdb()? {
            if let (TUNNEL, Some(dst)) = (&*entry.port, entry.dst) {
                entries.forwarding.insert((entry.mac, dst));
            }
        }
        Ok(entries)
    }

    /// What a node at `here` must have for `peers`; `macs` has the hardware address of each peer's
    /// end of the tunnel by the peer's name.
    pub(super) fn wanted(
        mode: Mode,
        here: &[IpAddr],
        peers: &[&NodeManifest],
        macs: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut entries = Self::default();
        for peer in peers {
            for subnet in peer.subnets() {
                let network: IpNetwork = subnet.parse().context("a subnet of a manifest")?;
                let via = network.network();
                match way(mode, here, peer, via.is_ipv4()) {
                    (Way::Direct, hop) => {
                        entries.routes.insert((subnet.clone(), hop, "uplink".to_owned()));
                    }
                    (Way::Tunnel, hop) => {
                        let mac = macs.get(peer.name()).cloned().unwrap_or_default();
                        let via = tunnel_hop(via, &mac);
                        entries.routes.insert((subnet.clone(), via, TUNNEL.to_owned()));
                        entries.neighbours.insert(via, mac.clone());
                        entries.forwarding.insert((mac, hop));
                    }
                    (Way::None, _) => {}
                }
            }
        }
        Ok(entries)
    }

    /// What one of two lacks, in words; nothing if they are the same.
    pub(super) fn difference(&self, wanted: &Self) -> Vec<String> {
        let lines = |entries: &Self| -> BTreeSet<String> {
            let Self { routes, neighbours, forwarding } = entries;
            let routes = routes.iter().map(|(to, via, dev)| format!("{to} via {via} dev {dev}"));
            let neighbours = neighbours.iter().map(|(to, mac)| format!("neighbour {to} is {mac}"));
            let forwarding = forwarding.iter().map(|(mac, to)| format!("{mac} is behind {to}"));
            routes.chain(neighbours).chain(forwarding).collect()
        };
        let (have, want) = (lines(self), lines(wanted));
        let missing = want.difference(&have).map(|line| format!("missing: {line}"));
        let extra = have.difference(&want).map(|line| format!("unwanted: {line}"));
        missing.chain(extra).collect()
    }

    /// The hardware addresses by the peers' names, for peers that have no kernel to ask: any will
    /// do, if it is the same everywhere.
    pub(super) fn mac_of(&self, peer: &NodeManifest) -> Option<String> {
        let is_to_peer = |to: &String| peer.subnets().contains(to);
        let mut routes = self.routes.iter().filter(|(to, ..)| is_to_peer(to));
        routes.find_map(|(_, via, _)| self.neighbours.get(via).cloned())
    }
}

/// The next hop of a route through the tunnel to the subnet that begins at `network`: IPv6 takes
/// the link-local address of the hardware address, IPv4 the subnet's own address.
#[must_use]
pub fn tunnel_hop(network: IpAddr, mac: &str) -> IpAddr {
    let octets: Vec<u8> =
        mac.split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    match (network, octets.as_slice()) {
        (IpAddr::V6(_), [a, b, c, d, e, f]) => {
            IpAddr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, *b, *c, 0xff, 0xfe, *d, *e, *f])
        }
        _ => network,
    }
}

/// How a peer's pods of one family are reached, and over which of its addresses.
fn way(mode: Mode, here: &[IpAddr], peer: &NodeManifest, ipv4: bool) -> (Way, IpAddr) {
    let on_link = |address: &&IpAddr| here.iter().any(|own| same_subnet(*own, **address));
    let of_family = |address: &&IpAddr| address.is_ipv4() == ipv4;
    let direct = peer.addresses().iter().filter(of_family).find(on_link).copied();
    let through = || {
        let shared = |address: &&IpAddr| here.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let mut shared: Vec<_> = peer.addresses().iter().filter(shared).copied().collect();
        shared.sort_by_key(|address| !address.is_ipv4());
        shared.first().copied().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    };
    match (mode, direct) {
        (Mode::HostGw | Mode::DirectRouting, Some(hop)) => (Way::Direct, hop),
        (Mode::HostGw, None) => (Way::None, through()),
        (Mode::Vxlan, _) | (Mode::DirectRouting, None) => (Way::Tunnel, through()),
    }
}

/// Whether two addresses of the lab's underlay are in one subnet.
fn same_subnet(a: IpAddr, b: IpAddr) -> bool {
    let length = if a.is_ipv4() { 24 } else { 64 };
    a.is_ipv4() == b.is_ipv4() && IpNetwork::new(a, length).is_ok_and(|network| network.contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(listed: &[&str]) -> Vec<IpAddr> {
        listed.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_way_is_direct_only_within_a_subnet_and_a_family() {
        let here = addresses(&["172.31.70.11"]);
        let near = NodeManifest::new("near").internal_ips(&addresses(&["172.31.70.12"]));
        let far = NodeManifest::new("far").internal_ips(&addresses(&["172.31.71.12"]));
        assert_eq!(way(Mode::Vxlan, &here, &near, true).0, Way::Tunnel);
        assert_eq!(way(Mode::DirectRouting, &here, &near, true).0, Way::Direct);
        assert_eq!(way(Mode::DirectRouting, &here, &near, false).0, Way::Tunnel);
        assert_eq!(way(Mode::DirectRouting, &here, &far, true).0, Way::Tunnel);
        assert_eq!(way(Mode::HostGw, &here, &far, true).0, Way::None);
    }
}
