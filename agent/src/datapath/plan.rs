//! What the data path should be. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use weir_datapath::{Hook, common::RouteKind};
use weir_netlink::{Link, MacAddr};

pub use super::record::Record;
use weir_model::Node;

use crate::{
    net_conf::NetConf,
    overlay::plan::{self as overlay, Hop, enabled},
    underlay::Uplink,
};

/// What the plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The network configuration.
    pub conf: &'a NetConf,
    /// This node.
    pub own: &'a Node,
    /// The others.
    pub peers: &'a [Arc<Node>],
    /// How the overlay reaches them.
    pub overlay: &'a overlay::Desired,
    /// Index of the tunnel device, if there is one.
    pub tunnel: Option<u32>,
    /// The links with the node's own addresses.
    pub uplinks: &'a [Uplink],
}

impl Surroundings<'_> {
    /// The tunnel's UDP port; 0 without a tunnel.
    pub fn tunnel_port(&self) -> u16 {
        self.overlay.tunnel.as_ref().map_or(0, |tunnel| tunnel.port)
    }
}

/// What should be there for the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfCluster {
    /// What is behind a prefix of the cluster.
    pub destinations: BTreeMap<IpNetwork, Destination>,
    /// Where programs belong.
    pub places: Vec<(u32, Hook)>,
    /// Where other settings may have put one, and none belongs.
    pub vacant: Vec<(u32, Hook)>,
}

/// What should be there for the pods of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfPods {
    /// Where their addresses lead.
    pub endpoints: BTreeMap<IpAddr, Endpoint>,
    /// Where programs belong.
    pub places: Vec<(u32, Hook)>,
}

/// What is behind a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// What kind of thing.
    pub kind: RouteKind,
    /// The link that leads to pods of another node; 0 leaves it to the stack.
    pub link: u32,
    /// The largest packet that it takes, in bytes.
    pub mtu: u32,
    /// The neighbour on it that they are behind.
    pub next_hop: Option<IpAddr>,
}

impl Destination {
    /// One that packets reach by the stack.
    pub const fn by_stack(kind: RouteKind) -> Self {
        Self { kind, link: 0, mtu: 0, next_hop: None }
    }
}

/// Where a pod's address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Index of the host's end of its veth.
    pub link: u32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// The node's number of its network namespace, if it has one.
    pub netns: Option<u32>,
}

/// Plans what leads to this node's pods. A record whose interface is not there is a pod that is
/// going.
pub fn of_pods(records: &[Record], links: &[Link]) -> OfPods {
    let mut desired = OfPods::default();
    for record in records {
        let same =
            |link: &&Link| link.index == record.host_ifindex && link.name == record.host_interface;
        let Some(link) = links.iter().find(same) else { continue };
        let endpoint = Endpoint { link: link.index, mac: record.mac, netns: link.peer_netns };
        desired.endpoints.extend(record.ips.iter().map(|ip| (*ip, endpoint)));
        desired.places.extend(Hook::POD.map(|hook| (record.host_ifindex, hook)));
    }
    desired
}

/// Plans what leads to everybody else.
pub fn of_cluster(surroundings: &Surroundings<'_>) -> OfCluster {
    let on = |link| (link, Hook::FromOverlay);
    let arrivals = arrivals(surroundings);
    let uplinks: BTreeSet<u32> = surroundings.uplinks.iter().map(|uplink| uplink.link).collect();
    let vacant = uplinks.difference(&arrivals).copied().map(on).collect();
    let outer = uplinks.iter().flat_map(|link| Hook::UPLINK.map(|hook| (*link, hook)));
    OfCluster {
        destinations: destinations(surroundings),
        vacant,
        places: arrivals.into_iter().map(on).chain(outer).collect(),
    }
}

/// The links that packets of other nodes' pods arrive by.
fn arrivals(surroundings: &Surroundings<'_>) -> BTreeSet<u32> {
    let hops = surroundings.overlay.routes.values();
    let direct = hops.filter_map(|hop| match hop {
        Hop::Direct { link, .. } => Some(*link),
        Hop::Tunnel { .. } => None,
    });
    direct.chain(surroundings.tunnel).collect()
}

fn destinations(surroundings: &Surroundings<'_>) -> BTreeMap<IpNetwork, Destination> {
    let Surroundings { conf, own, peers, overlay, tunnel, uplinks } = *surroundings;
    let mut found = BTreeMap::new();
    for node in peers.iter().map(Arc::as_ref).chain([own]) {
        let addresses = node.underlay_ips.iter().copied().map(IpNetwork::from);
        found.extend(addresses.map(|ip| (ip, Destination::by_stack(RouteKind::Node))));
    }
    for peer in peers {
        for cidr in enabled(conf, peer) {
            let by_stack = Destination::by_stack(RouteKind::RemotePods);
            let way = match overlay.routes.get(&cidr) {
                Some(Hop::Tunnel { gateway }) => {
                    tunnel.zip(overlay.tunnel.as_ref()).map(|(link, tunnel)| Destination {
                        link,
                        mtu: tunnel.mtu,
                        next_hop: Some(*gateway),
                        ..by_stack
                    })
                }
                Some(Hop::Direct { gateway, link }) => {
                    let uplink = uplinks.iter().find(|uplink| uplink.link == *link);
                    uplink.map(|uplink| Destination {
                        link: *link,
                        mtu: uplink.mtu,
                        next_hop: Some(*gateway),
                        ..by_stack
                    })
                }
                None => None,
            };
            found.insert(cidr, way.unwrap_or(by_stack));
        }
    }
    let local = enabled(conf, own).map(|cidr| (cidr, Destination::by_stack(RouteKind::LocalPods)));
    found.extend(local);
    found
}

#[cfg(test)]
mod tests;
