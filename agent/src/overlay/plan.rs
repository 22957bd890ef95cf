//! The desired state of the kernel. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use weir_netlink::MacAddr;
/// The tunnel device.
pub use weir_netlink::vxlan::VxlanSpec as Tunnel;

use super::identity::{link_local, tunnel_name, vtep_mac};
use weir_model::Node;

use crate::{
    net_conf::{Backend, NetConf, Vxlan},
    underlay::Uplink,
};

/// The size of the encapsulation in bytes: Ethernet 14, VXLAN 8, UDP 8 and the outer IP header of 20
/// or 40 (RFC 7348, section 5).
const OVERHEAD_IPV4: u32 = 50;
const OVERHEAD_IPV6: u32 = 70;

/// The desired state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The tunnel device, if one is needed.
    pub tunnel: Option<Tunnel>,
    /// Its addresses.
    pub addresses: BTreeSet<IpNetwork>,
    /// The next hop to each subnet of the peers.
    pub routes: BTreeMap<IpNetwork, Hop>,
    /// MAC addresses of the peers' tunnel devices, by tunnel address.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// The FDB: the peers' underlay addresses, by MAC address.
    pub fdb: BTreeMap<MacAddr, IpAddr>,
    /// MTU for pods, in bytes.
    pub pod_mtu: u32,
}

/// The next hop to a peer's subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// Through the tunnel device, to the peer's tunnel address.
    Tunnel {
        /// The peer's tunnel address; for IPv6, the link-local one.
        gateway: IpAddr,
    },
    /// To the peer itself, which is on the link.
    Direct {
        /// The peer's underlay address.
        gateway: IpAddr,
        /// Index of the link.
        link: u32,
    },
}

/// A peer's subnet that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unreachable {
    /// The peer.
    pub node: String,
    /// Why.
    pub reason: UnreachableReason,
}

/// Why a peer cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum UnreachableReason {
    /// The backend host-gw needs all nodes in one subnet.
    #[error(
        "its address {0} is not on-link, so host-gw cannot reach it: use vxlan (DirectRouting avoids \
         the tunnel where it can)"
    )]
    NotOnLink(IpAddr),
    /// It has no underlay address of the required family.
    #[error("it has no {} underlay address", if *ipv4 { "IPv4" } else { "IPv6" })]
    OtherFamily {
        /// Whether IPv4 is required. Otherwise IPv6 is.
        ipv4: bool,
    },
}

/// Why the node cannot join the pod network yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// None of its addresses is on a link that is up.
    #[error("none of the node's addresses {0:?} is on a link that is up")]
    NoUplink(Vec<IpAddr>),
    /// The uplink's MTU is too small for the encapsulation.
    #[error(
        "the MTU {mtu} of {uplink} is too small: pods would have less than the minimum MTU of IP"
    )]
    MtuTooSmall {
        /// Name of the uplink.
        uplink: String,
        /// Its MTU.
        mtu: u32,
    },
}

/// Plans how `own` reaches `peers`.
pub fn plan(
    conf: &NetConf,
    own: &Node,
    peers: &[Arc<Node>],
    uplinks: &[Uplink],
) -> Result<(Desired, Vec<Unreachable>), NotReady> {
    let primary = uplinks.first().ok_or_else(|| NotReady::NoUplink(own.underlay_ips.clone()))?;
    let mut desired = Desired::default();
    let tunnel = match conf.backend {
        Backend::HostGateway => None,
        Backend::Vxlan(vxlan) => Some((vxlan, tunnel(conf, vxlan, own, primary)?)),
    };
    desired.pod_mtu = match &tunnel {
        Some((_, tunnel)) => tunnel.mtu,
        None => conf.mtu.unwrap_or(primary.mtu),
    };
    if tunnel.is_some() {
        desired.addresses = enabled(conf, own).map(vtep_network).collect();
    }
    let mut unreachable = Vec::new();
    for peer in peers {
        for cidr in enabled(conf, peer) {
            let hop = match &tunnel {
                None => direct(peer, cidr, uplinks),
                Some((vxlan, tunnel)) => match direct(peer, cidr, uplinks) {
                    Ok(hop) if vxlan.direct_routing => Ok(hop),
                    _ => through(&mut desired, peer, cidr, tunnel),
                },
            };
            match hop {
                Ok(hop) => {
                    desired.routes.insert(cidr, hop);
                }
                Err(reason) => unreachable.push(Unreachable { node: peer.name.clone(), reason }),
            }
        }
    }
    desired.tunnel = tunnel.map(|(_, tunnel)| tunnel);
    unreachable.sort();
    unreachable.dedup();
    Ok((desired, unreachable))
}

/// A node's subnets of the enabled families.
pub fn enabled<'a>(conf: &'a NetConf, node: &'a Node) -> impl Iterator<Item = IpNetwork> + 'a {
    let is_enabled =
        |cidr: &IpNetwork| if cidr.is_ipv4() { conf.enable_ipv4 } else { conf.enable_ipv6 };
    node.pod_cidrs.iter().copied().filter(is_enabled)
}

fn tunnel(conf: &NetConf, vxlan: Vxlan, own: &Node, uplink: &Uplink) -> Result<Tunnel, NotReady> {
    let overhead = if uplink.ip.is_ipv4() { OVERHEAD_IPV4 } else { OVERHEAD_IPV6 };
    let mtu = conf.mtu.unwrap_or_else(|| uplink.mtu.saturating_sub(overhead));
    let least = if own.pod_cidr(false).is_some() && conf.enable_ipv6 { 1280 } else { 576 };
    if mtu < least {
        return Err(NotReady::MtuTooSmall { uplink: uplink.name.clone(), mtu: uplink.mtu });
    }
    Ok(Tunnel {
        name: tunnel_name(vxlan.vni),
        vni: vxlan.vni,
        port: vxlan.port,
        local: uplink.ip,
        underlay: uplink.link,
        mac: vtep_mac(&own.name, vxlan.vni),
        mtu,
    })
}

/// A tunnel device's address: the network address of its node's subnet, which no pod can have.
fn vtep_network(cidr: IpNetwork) -> IpNetwork {
    IpNetwork::from(cidr.network())
}

fn direct(peer: &Node, cidr: IpNetwork, uplinks: &[Uplink]) -> Result<Hop, UnreachableReason> {
    let ipv4 = cidr.is_ipv4();
    let gateway = peer.underlay_ip(ipv4).ok_or(UnreachableReason::OtherFamily { ipv4 })?;
    let uplink = uplinks.iter().find(|uplink| uplink.is_on_link(gateway));
    let uplink = uplink.ok_or(UnreachableReason::NotOnLink(gateway))?;
    Ok(Hop::Direct { gateway, link: uplink.link })
}

fn through(
    desired: &mut Desired,
    peer: &Node,
    cidr: IpNetwork,
    tunnel: &Tunnel,
) -> Result<Hop, UnreachableReason> {
    let ipv4 = tunnel.local.is_ipv4();
    let remote = peer.underlay_ip(ipv4).ok_or(UnreachableReason::OtherFamily { ipv4 })?;
    let mac = vtep_mac(&peer.name, tunnel.vni);
    let gateway = match cidr {
        IpNetwork::V4(_) => vtep_network(cidr).ip(),
        IpNetwork::V6(_) => link_local(mac).into(),
    };
    desired.neighbours.insert(gateway, mac);
    desired.fdb.insert(mac, remote);
    Ok(Hop::Tunnel { gateway })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::peers::tests::node;

    fn uplink(ip: &str, mtu: u32) -> Uplink {
        let prefix = if ip.contains(':') { 64 } else { 24 };
        let subnet = IpNetwork::new(ip.parse().unwrap(), prefix).unwrap();
        Uplink { ip: ip.parse().unwrap(), link: 2, name: "eth0".into(), mtu, subnets: vec![subnet] }
    }

    fn conf(text: &str) -> NetConf {
        NetConf::parse(text.as_bytes()).unwrap()
    }

    fn peers() -> Vec<Arc<Node>> {
        vec![
            Arc::new(node("near", 1, &["10.0.1.0/24", "fd00:1::/64"], &["192.0.2.1", "fd77::1"])),
            Arc::new(node("far", 2, &["10.0.2.0/24", "fd00:2::/64"], &["198.51.100.2", "fd78::2"])),
        ]
    }

    fn own() -> Node {
        node("me", 0, &["10.0.0.0/24", "fd00::/64"], &["192.0.2.9", "fd77::9"])
    }

    fn hop(desired: &Desired, cidr: &str) -> Option<Hop> {
        desired.routes.get(&cidr.parse::<IpNetwork>().unwrap()).copied()
    }

    #[test]
    fn a_tunnel_carries_both_families_over_one_underlay() {
        let uplinks = [uplink("192.0.2.9", 1500), uplink("fd77::9", 1500)];
        let (desired, unreachable) = plan(&conf("{}"), &own(), &peers(), &uplinks).unwrap();
        assert_eq!(unreachable, []);
        assert_eq!(desired.routes.len(), 4);
        assert_eq!(desired.neighbours.len(), 4);
        // A peer has one tunnel device, whatever the number of its subnets.
        assert_eq!(desired.fdb.len(), 2);
        let mac = vtep_mac("far", 1);
        assert_eq!(desired.fdb[&mac], "198.51.100.2".parse::<IpAddr>().unwrap());
        assert_eq!(desired.neighbours[&IpAddr::from(link_local(mac))], mac);
        assert_eq!((desired.pod_mtu, desired.tunnel.unwrap().local), (1450, uplinks[0].ip));
    }

    #[test]
    fn an_ipv6_underlay_takes_more_of_the_mtu() {
        let (desired, _) = plan(&conf("{}"), &own(), &peers(), &[uplink("fd77::9", 1500)]).unwrap();
        assert_eq!(desired.pod_mtu, 1430);
        assert_eq!(desired.fdb[&vtep_mac("near", 1)], "fd77::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn with_direct_routing_only_peers_behind_a_router_use_the_tunnel() {
        let conf = conf(r#"{"Backend": {"Type": "vxlan", "DirectRouting": true}}"#);
        let uplinks = [uplink("192.0.2.9", 1500), uplink("fd77::9", 1500)];
        let (desired, _) = plan(&conf, &own(), &peers(), &uplinks).unwrap();
        let near = Hop::Direct { gateway: "192.0.2.1".parse().unwrap(), link: 2 };
        assert_eq!(hop(&desired, "10.0.1.0/24"), Some(near));
        assert!(matches!(hop(&desired, "10.0.2.0/24"), Some(Hop::Tunnel { .. })));
        assert_eq!(desired.fdb.len(), 1);
    }

    #[test]
    fn host_gw_reports_peers_behind_a_router() {
        let conf = conf(r#"{"EnableIPv6": false, "Backend": {"Type": "host-gw"}}"#);
        let (desired, unreachable) =
            plan(&conf, &own(), &peers(), &[uplink("192.0.2.9", 1500)]).unwrap();
        assert_eq!(desired.tunnel, None);
        assert_eq!(desired.pod_mtu, 1500);
        assert_eq!(desired.routes.len(), 1);
        assert_eq!(unreachable.len(), 1);
        assert_eq!(unreachable[0].node, "far");
        assert!(unreachable[0].reason.to_string().contains("not on-link"));
    }

    #[test]
    fn a_disabled_family_has_no_routes() {
        let conf = conf(r#"{"EnableIPv6": false}"#);
        let (desired, _) = plan(&conf, &own(), &peers(), &[uplink("192.0.2.9", 1500)]).unwrap();
        assert!(desired.routes.keys().all(IpNetwork::is_ipv4));
        assert_eq!(desired.addresses.len(), 1);
    }

    #[test]
    fn the_error_about_a_missing_uplink_names_the_addresses() {
        let error = plan(&conf("{}"), &own(), &[], &[]).unwrap_err();
        assert!(error.to_string().contains("192.0.2.9"), "{error}");
    }

    #[test]
    fn an_mtu_that_is_too_small_for_ipv6_is_an_error() {
        let error = plan(&conf("{}"), &own(), &[], &[uplink("192.0.2.9", 1320)]).unwrap_err();
        assert!(error.to_string().contains("1320"), "{error}");
        assert!(
            plan(&conf(r#"{"EnableIPv6": false}"#), &own(), &[], &[uplink("192.0.2.9", 1320)])
                .is_ok()
        );
    }
}
