//! The fewest operations from the kernel's state to the desired state. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use weir_netlink::MacAddr;

use super::plan::{Desired, Hop, Tunnel};

/// The state of Weir's objects in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The tunnel device.
    pub tunnel: Option<ObservedTunnel>,
    /// Weir's tunnel devices with another name.
    pub other_tunnels: BTreeSet<String>,
    /// Global addresses of the tunnel device.
    pub addresses: BTreeSet<IpNetwork>,
    /// Weir's routes.
    pub routes: BTreeMap<IpNetwork, ObservedHop>,
    /// Permanent neighbours on the tunnel device.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Forwarding entries of the tunnel device.
    pub fdb: BTreeSet<(MacAddr, IpAddr)>,
}

/// The existing tunnel device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTunnel {
    /// Interface name.
    pub name: String,
    /// Its settings; `None` if one of them cannot be read, so that they count as different.
    pub settings: Option<Tunnel>,
    /// Index of the link.
    pub index: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it learns remotes, which it must not.
    pub learning: bool,
}

/// The next hop of an existing route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedHop {
    /// Index of the link.
    pub link: u32,
    /// The gateway.
    pub gateway: Option<IpAddr>,
}

/// A change to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Deletes a tunnel device, and with it everything on it.
    DeleteTunnel(String),
    /// Creates the tunnel device.
    CreateTunnel(Tunnel),
    /// Sets what can be changed on a live tunnel device.
    ChangeTunnel(Tunnel),
    /// Adds an address to the tunnel device.
    AddAddress(IpNetwork),
    /// Removes an address from the tunnel device.
    DeleteAddress(IpNetwork),
    /// Removes a route of Weir's.
    DeleteRoute(IpNetwork, ObservedHop),
    /// Sets the MAC address for a peer's tunnel address.
    SetNeighbour(IpAddr, MacAddr),
    /// Removes a neighbour entry.
    DeleteNeighbour(IpAddr),
    /// Sets the remote for frames to a MAC address.
    SetFdb(MacAddr, IpAddr),
    /// Removes an FDB entry.
    DeleteFdb(MacAddr, IpAddr),
    /// Adds a route. A foreign route to the same destination stays and is an error.
    AddRoute(IpNetwork, Hop),
    /// Replaces a route of Weir's.
    ReplaceRoute(IpNetwork, Hop),
}

impl Op {
    /// The kind of change, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DeleteTunnel(_) => "tunnel_delete",
            Self::CreateTunnel(_) => "tunnel_create",
            Self::ChangeTunnel(_) => "tunnel_change",
            Self::AddAddress(_) => "address_add",
            Self::DeleteAddress(_) => "address_delete",
            Self::DeleteRoute(..) => "route_delete",
            Self::SetNeighbour(..) => "neighbour_set",
            Self::DeleteNeighbour(_) => "neighbour_delete",
            Self::SetFdb(..) => "fdb_set",
            Self::DeleteFdb(..) => "fdb_delete",
            Self::AddRoute(..) => "route_add",
            Self::ReplaceRoute(..) => "route_replace",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeleteTunnel(name) => write!(f, "delete {name}"),
            Self::CreateTunnel(tunnel) => write!(
                f,
                "create {}: VNI {}, port {}, from {}, {}, MTU {}",
                tunnel.name, tunnel.vni, tunnel.port, tunnel.local, tunnel.mac, tunnel.mtu
            ),
            Self::ChangeTunnel(tunnel) => {
                write!(f, "set {} up, {}, MTU {}", tunnel.name, tunnel.mac, tunnel.mtu)
            }
            Self::AddAddress(network) => write!(f, "add address {network}"),
            Self::DeleteAddress(network) => write!(f, "delete address {network}"),
            Self::DeleteRoute(cidr, _) => write!(f, "delete route to {cidr}"),
            Self::SetNeighbour(ip, mac) => write!(f, "set neighbour {ip} to {mac}"),
            Self::DeleteNeighbour(ip) => write!(f, "delete neighbour {ip}"),
            Self::SetFdb(mac, remote) => write!(f, "send {mac} to {remote}"),
            Self::DeleteFdb(mac, remote) => write!(f, "do not send {mac} to {remote}"),
            Self::AddRoute(cidr, hop) => write!(f, "add route to {cidr} {hop}"),
            Self::ReplaceRoute(cidr, hop) => write!(f, "change route to {cidr} {hop}"),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tunnel { gateway } => write!(f, "by the tunnel via {gateway}"),
            Self::Direct { gateway, .. } => write!(f, "via {gateway}"),
        }
    }
}

impl Observed {
    /// The kernel's state once it is as desired, with the tunnel device at this index. `None` if a
    /// tunnel device is desired and `index` is `None`.
    pub fn settled(desired: &Desired, index: Option<u32>) -> Option<Self> {
        let tunnel = match &desired.tunnel {
            None => None,
            Some(tunnel) => Some(ObservedTunnel {
                name: tunnel.name.clone(),
                settings: Some(tunnel.clone()),
                index: index?,
                is_up: true,
                learning: false,
            }),
        };
        let index = tunnel.as_ref().map(|tunnel| tunnel.index);
        let hop = |hop: &Hop| match *hop {
            Hop::Tunnel { gateway } => Some(ObservedHop { link: index?, gateway: Some(gateway) }),
            Hop::Direct { gateway, link } => Some(ObservedHop { link, gateway: Some(gateway) }),
        };
        let routes = desired.routes.iter().map(|(cidr, to)| Some((*cidr, hop(to)?)));
        Some(Self {
            tunnel,
            other_tunnels: BTreeSet::new(),
            addresses: desired.addresses.clone(),
            routes: routes.collect::<Option<_>>()?,
            neighbours: desired.neighbours.clone(),
            fdb: desired.fdb.iter().map(|(mac, remote)| (*mac, *remote)).collect(),
        })
    }
}

/// The operations, in an order in which each has what it needs.
pub fn diff(desired: &Desired, observed: &Observed) -> Vec<Op> {
    let mut ops: Vec<Op> = observed.other_tunnels.iter().cloned().map(Op::DeleteTunnel).collect();
    // A new device has no entries: the same pass writes all peers again.
    let survives = tunnel_ops(&mut ops, desired.tunnel.as_ref(), observed.tunnel.as_ref());
    let empty = Observed::default();
    let on_tunnel = if survives { observed } else { &empty };
    let tunnel_index = observed.tunnel.as_ref().filter(|_| survives).map(|tunnel| tunnel.index);

    for stale in on_tunnel.addresses.difference(&desired.addresses) {
        ops.push(Op::DeleteAddress(*stale));
    }
    for (cidr, hop) in &observed.routes {
        // The kernel deletes the routes of a deleted device.
        let is_deleted_with_device =
            !survives && observed.tunnel.as_ref().is_some_and(|t| t.index == hop.link);
        if !desired.routes.contains_key(cidr) && !is_deleted_with_device {
            ops.push(Op::DeleteRoute(*cidr, *hop));
        }
    }
    for (ip, _) in
        on_tunnel.neighbours.iter().filter(|(ip, _)| !desired.neighbours.contains_key(ip))
    {
        ops.push(Op::DeleteNeighbour(*ip));
    }
    for (mac, remote) in &on_tunnel.fdb {
        if desired.fdb.get(mac) != Some(remote) {
            ops.push(Op::DeleteFdb(*mac, *remote));
        }
    }
    for missing in desired.addresses.difference(&on_tunnel.addresses) {
        ops.push(Op::AddAddress(*missing));
    }
    for (ip, mac) in &desired.neighbours {
        if on_tunnel.neighbours.get(ip) != Some(mac) {
            ops.push(Op::SetNeighbour(*ip, *mac));
        }
    }
    for (mac, remote) in &desired.fdb {
        if !on_tunnel.fdb.contains(&(*mac, *remote)) {
            ops.push(Op::SetFdb(*mac, *remote));
        }
    }
    for (cidr, hop) in &desired.routes {
        let found = observed.routes.get(cidr).filter(|found| {
            survives || observed.tunnel.as_ref().is_none_or(|tunnel| tunnel.index != found.link)
        });
        match found {
            None => ops.push(Op::AddRoute(*cidr, *hop)),
            Some(found) if !is_same_hop(hop, found, tunnel_index) => {
                ops.push(Op::ReplaceRoute(*cidr, *hop));
            }
            Some(_) => {}
        }
    }
    ops
}

/// Adds the operations for the device itself. Returns whether the existing device stays.
fn tunnel_ops(
    ops: &mut Vec<Op>,
    desired: Option<&Tunnel>,
    observed: Option<&ObservedTunnel>,
) -> bool {
    match (desired, observed) {
        (None, None) => false,
        (None, Some(observed)) => {
            ops.push(Op::DeleteTunnel(observed.name.clone()));
            false
        }
        (Some(desired), None) => {
            ops.push(Op::CreateTunnel(desired.clone()));
            false
        }
        (Some(desired), Some(observed)) => {
            let settings = observed.settings.as_ref();
            if observed.learning
                || !settings.is_some_and(|settings| is_fixed_same(desired, settings))
            {
                ops.push(Op::DeleteTunnel(desired.name.clone()));
                ops.push(Op::CreateTunnel(desired.clone()));
                return false;
            }
            if settings != Some(desired) || !observed.is_up {
                ops.push(Op::ChangeTunnel(desired.clone()));
            }
            true
        }
    }
}

/// Whether the settings that cannot be changed on an existing device are as desired.
fn is_fixed_same(desired: &Tunnel, settings: &Tunnel) -> bool {
    let Tunnel { name: _, vni, port, local, underlay, mac: _, mtu: _ } = desired;
    (*vni, *port, *local, *underlay)
        == (settings.vni, settings.port, settings.local, settings.underlay)
}

/// Whether a route has the desired next hop; `tunnel` is the index of the tunnel device.
pub fn is_same_hop(hop: &Hop, found: &ObservedHop, tunnel: Option<u32>) -> bool {
    match hop {
        Hop::Tunnel { gateway } => found.gateway == Some(*gateway) && Some(found.link) == tunnel,
        Hop::Direct { gateway, link } => found.gateway == Some(*gateway) && found.link == *link,
    }
}

#[cfg(test)]
mod tests;
