//! The desired state of the data path. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use weir_datapath::{
    Hook,
    common::{Mac, RouteKind},
};
use weir_model::Node;
use weir_netlink::{Link, MacAddr};
use weir_node::{Namespace, may_route};

pub use super::record::Record;
use crate::{
    net_conf::NetConf,
    overlay::plan::{self as overlay, Hop, enabled},
    underlay::Uplink,
};

/// The inputs of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The network configuration.
    pub conf: &'a NetConf,
    /// This node.
    pub own: &'a Node,
    /// The other nodes.
    pub peers: &'a [Arc<Node>],
    /// The desired overlay.
    pub overlay: &'a overlay::Desired,
    /// Index of the tunnel device, if it exists.
    pub tunnel: Option<u32>,
    /// The links with the node's addresses.
    pub uplinks: &'a [Uplink],
}

impl Inputs<'_> {
    /// The tunnel's UDP port, or 0 without a tunnel.
    pub fn tunnel_port(&self) -> u16 {
        self.overlay.tunnel.as_ref().map_or(0, |tunnel| tunnel.port)
    }

    /// The uplink that the tunnel's packets of other nodes come in by, if there is a tunnel.
    fn tunnel_uplink(&self) -> Option<&Uplink> {
        let tunnel = self.overlay.tunnel.as_ref()?;
        self.uplinks.iter().find(|uplink| uplink.ip == tunnel.local)
    }
}

/// The desired state that depends on the cluster's nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// The destination for each prefix of the cluster.
    pub destinations: BTreeMap<IpNetwork, Destination>,
    /// Links with the hooks whose program must be attached.
    pub places: Vec<(u32, Hook)>,
    /// Links with hooks that must have no program; other options may have attached one.
    pub vacant: Vec<(u32, Hook)>,
}

/// The desired state that depends on this node's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodState {
    /// The endpoint for each address of a pod.
    pub endpoints: BTreeMap<IpAddr, Endpoint>,
    /// Links with the hooks whose program must be attached.
    pub places: Vec<(u32, Hook)>,
    /// For each pod's link, whether the pod may send with addresses of others.
    pub routers: BTreeMap<u32, bool>,
}

/// The destination for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The kind of destination.
    pub kind: RouteKind,
    /// The link to pods of another node; 0 means that the kernel's stack routes the packet. Of another
    /// node's address: the uplink by which its packets of the tunnel come in, 0 if it sends none.
    pub link: u32,
    /// The link's MTU in bytes.
    pub mtu: u32,
    /// The next hop on the link.
    pub next_hop: Option<IpAddr>,
}

impl Destination {
    /// A destination that the kernel's stack routes to.
    pub const fn by_stack(kind: RouteKind) -> Self {
        Self { kind, link: 0, mtu: 0, next_hop: None }
    }
}

/// The endpoint of a pod's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Index of the host's end of the pod's veth.
    pub link: u32,
    /// The pod's MAC address.
    pub mac: MacAddr,
    /// The node's id of the pod's network namespace, if it has one.
    pub netns: Option<u32>,
}

/// Plans the state for this node's pods, of which those in the namespaces `routing` may send with
/// addresses of others. A record without its interface belongs to a pod that is being deleted.
pub fn plan_pods(records: &[Record], links: &[Link], routing: &[Namespace]) -> PodState {
    let mut desired = PodState::default();
    for record in records {
        let same =
            |link: &&Link| link.index == record.host_ifindex && link.name == record.host_interface;
        let Some(link) = links.iter().find(same) else { continue };
        let endpoint = Endpoint { link: link.index, mac: record.mac, netns: link.peer_netns };
        // The kernel of the pod gives itself the link-local address.
        let link_local = IpAddr::from(Mac(record.mac.octets()).link_local());
        let addresses = record.ips.iter().copied().chain([link_local]);
        desired.endpoints.extend(addresses.map(|ip| (ip, endpoint)));
        desired.routers.insert(link.index, may_route(&record.pod, routing));
        desired.places.extend(Hook::POD.map(|hook| (record.host_ifindex, hook)));
    }
    desired
}

/// Plans the state for the cluster's nodes.
pub fn plan_cluster(inputs: &Inputs<'_>) -> ClusterState {
    let on = |link| (link, Hook::FromOverlay);
    let arrivals = arrivals(inputs);
    let uplinks: BTreeSet<u32> = inputs.uplinks.iter().map(|uplink| uplink.link).collect();
    let vacant = uplinks.difference(&arrivals).copied().map(on).collect();
    let outer = uplinks.iter().flat_map(|link| Hook::UPLINK.map(|hook| (*link, hook)));
    ClusterState {
        destinations: destinations(inputs),
        vacant,
        places: arrivals.into_iter().map(on).chain(outer).collect(),
    }
}

/// The links on which packets of other nodes' pods arrive.
fn arrivals(inputs: &Inputs<'_>) -> BTreeSet<u32> {
    let hops = inputs.overlay.routes.values();
    let direct = hops.filter_map(|hop| match hop {
        Hop::Direct { link, .. } => Some(*link),
        Hop::Tunnel { .. } => None,
    });
    direct.chain(inputs.tunnel).collect()
}

fn destinations(inputs: &Inputs<'_>) -> BTreeMap<IpNetwork, Destination> {
    let Inputs { conf, own, peers, overlay, tunnel, uplinks } = *inputs;
    let mut found = BTreeMap::new();
    let node = Destination::by_stack(RouteKind::Node);
    let of_peers = peers.iter().flat_map(|peer| peer.underlay_ips.iter().copied());
    let tunnel_uplink = inputs.tunnel_uplink();
    // A peer may send its packets of the tunnel from all of its addresses of the tunnel's family.
    found.extend(of_peers.map(|ip| {
        let by = tunnel_uplink.filter(|uplink| uplink.ip.is_ipv4() == ip.is_ipv4());
        (ip.into(), Destination { link: by.map_or(0, |uplink| uplink.link), ..node })
    }));
    found.extend(own.underlay_ips.iter().map(|ip| ((*ip).into(), node)));
    for peer in peers {
        for cidr in enabled(conf, peer) {
            let by_stack = Destination::by_stack(RouteKind::RemotePods);
            let destination = match overlay.routes.get(&cidr) {
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
            found.insert(cidr, destination.unwrap_or(by_stack));
        }
    }
    let local = enabled(conf, own).map(|cidr| (cidr, Destination::by_stack(RouteKind::LocalPods)));
    found.extend(local);
    found
}

#[cfg(test)]
mod tests;
