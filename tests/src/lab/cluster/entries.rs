//! A node's routes, neighbours and forwarding entries for its peers, as they are and as they should
//! be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;

use super::manifest::NodeManifest;
use super::settings::Mode;
use crate::lab::observe::Observe;
use crate::lab::stack::Stack;

/// The tunnel device.
pub(super) const TUNNEL: &str = "weir.1";
/// The protocol number of the agent's routes.
const PROTOCOL: &str = "87";

/// How a subnet is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRoute {
    /// By a route to the other node's address.
    Direct,
    /// By a route, a neighbour and a forwarding entry of the tunnel.
    Tunnel,
    /// Not at all: only direct routes are allowed, and the node is on another subnet.
    None,
}

/// The entries of a node for its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Subnet, next hop, device.
    pub routes: BTreeSet<(String, IpAddr, String)>,
    /// Of the tunnel: next hop and its MAC address.
    pub neighbours: BTreeMap<IpAddr, String>,
    /// Of the tunnel: MAC address and the address of the node that has it.
    pub forwarding: BTreeSet<(String, IpAddr)>,
}

impl Entries {
    /// The entries that the kernel has.
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

    /// The entries that a node with the addresses `own` must have for `peers`; `macs` has the MAC
    /// address of each peer's tunnel device by the peer's name.
    pub(super) fn expected(
        mode: Mode,
        own: &[IpAddr],
        peers: &[&NodeManifest],
        macs: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut entries = Self::default();
        for peer in peers {
            for subnet in peer.subnets() {
                let network: IpNetwork = subnet.parse().context("a subnet of a manifest")?;
                let via = network.network();
                match choose_route(mode, own, peer, via.is_ipv4()) {
                    (PeerRoute::Direct, hop) => {
                        entries.routes.insert((subnet.clone(), hop, "uplink".to_owned()));
                    }
                    (PeerRoute::Tunnel, hop) => {
                        let mac = macs.get(peer.name()).cloned().unwrap_or_default();
                        let via = tunnel_next_hop(via, &mac);
                        entries.routes.insert((subnet.clone(), via, TUNNEL.to_owned()));
                        entries.neighbours.insert(via, mac.clone());
                        entries.forwarding.insert((mac, hop));
                    }
                    (PeerRoute::None, _) => {}
                }
            }
        }
        Ok(entries)
    }

    /// The entries that are missing or unwanted, a line each; empty if both are equal.
    pub(super) fn difference(&self, expected: &Self) -> Vec<String> {
        let lines = |entries: &Self| -> BTreeSet<String> {
            let Self { routes, neighbours, forwarding } = entries;
            let routes = routes.iter().map(|(to, via, dev)| format!("{to} via {via} dev {dev}"));
            let neighbours = neighbours.iter().map(|(to, mac)| format!("neighbour {to} is {mac}"));
            let forwarding = forwarding.iter().map(|(mac, to)| format!("{mac} is behind {to}"));
            routes.chain(neighbours).chain(forwarding).collect()
        };
        let (have, want) = (lines(self), lines(expected));
        let missing = want.difference(&have).map(|line| format!("missing: {line}"));
        let extra = have.difference(&want).map(|line| format!("unwanted: {line}"));
        missing.chain(extra).collect()
    }

    /// The MAC address of a peer in these entries. A peer without a kernel may have any, as long as
    /// all entries have the same.
    pub(super) fn mac_of(&self, peer: &NodeManifest) -> Option<String> {
        let is_to_peer = |to: &String| peer.subnets().contains(to);
        let mut routes = self.routes.iter().filter(|(to, ..)| is_to_peer(to));
        routes.find_map(|(_, via, _)| self.neighbours.get(via).cloned())
    }
}

/// The next hop of a route through the tunnel to the subnet that begins at `network`: for IPv6 the
/// link-local address made of the MAC address, for IPv4 the subnet's own address.
#[must_use]
pub fn tunnel_next_hop(network: IpAddr, mac: &str) -> IpAddr {
    let octets: Vec<u8> =
        mac.split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    match (network, octets.as_slice()) {
        (IpAddr::V6(_), [a, b, c, d, e, f]) => {
            IpAddr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, *b, *c, 0xff, 0xfe, *d, *e, *f])
        }
        _ => network,
    }
}

/// How a peer's pods of one family are reached, and by which of its addresses.
fn choose_route(
    mode: Mode,
    own: &[IpAddr],
    peer: &NodeManifest,
    ipv4: bool,
) -> (PeerRoute, IpAddr) {
    let on_link = |address: &&IpAddr| own.iter().any(|own| same_subnet(*own, **address));
    let of_family = |address: &&IpAddr| address.is_ipv4() == ipv4;
    let next_hop = peer.addresses().iter().filter(of_family).find(on_link).copied();
    let endpoint = || {
        let shared = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let mut shared: Vec<_> = peer.addresses().iter().filter(shared).copied().collect();
        shared.sort_by_key(|address| !address.is_ipv4());
        shared.first().copied().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    };
    match (mode, next_hop) {
        (Mode::HostGw | Mode::DirectRouting, Some(hop)) => (PeerRoute::Direct, hop),
        (Mode::HostGw, None) => (PeerRoute::None, endpoint()),
        (Mode::Vxlan, _) | (Mode::DirectRouting, None) => (PeerRoute::Tunnel, endpoint()),
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
    fn a_peer_is_reached_directly_only_within_one_subnet_and_family() {
        let own = addresses(&["172.31.70.11"]);
        let near = NodeManifest::new("near").internal_ips(&addresses(&["172.31.70.12"]));
        let far = NodeManifest::new("far").internal_ips(&addresses(&["172.31.71.12"]));
        assert_eq!(choose_route(Mode::Vxlan, &own, &near, true).0, PeerRoute::Tunnel);
        assert_eq!(choose_route(Mode::DirectRouting, &own, &near, true).0, PeerRoute::Direct);
        assert_eq!(choose_route(Mode::DirectRouting, &own, &near, false).0, PeerRoute::Tunnel);
        assert_eq!(choose_route(Mode::DirectRouting, &own, &far, true).0, PeerRoute::Tunnel);
        assert_eq!(choose_route(Mode::HostGw, &own, &far, true).0, PeerRoute::None);
    }
}
