//! Reads how the kernel is.

use weir_netlink::{
    Error, LinkKind, MacAddr, Netlink, address, fdb, link, neigh,
    route::{self, TABLE_MAIN},
    vxlan::{self, Vxlan},
};
use weir_node::names::TUNNEL_PREFIX;

use super::{
    ROUTE_PROTOCOL,
    diff::{Observed, ObservedHop, ObservedTunnel},
    plan::Tunnel,
};

/// The state of the tunnel device `tunnel_name`, of other tunnel devices of Weir's, and of Weir's
/// routes. A device with the node's own tunnel address `own_mac` is Weir's under any name: somebody
/// has renamed it.
pub async fn observe(
    netlink: &Netlink,
    tunnel_name: &str,
    own_mac: Option<MacAddr>,
) -> Result<Observed, Error> {
    let mut observed = Observed::default();
    for link in link::list(netlink).await? {
        let is_ours =
            link.name.starts_with(TUNNEL_PREFIX) || (own_mac.is_some() && link.mac == own_mac);
        if link.kind == Some(LinkKind::Vxlan) && is_ours && link.name != tunnel_name {
            observed.other_tunnels.insert(link.name);
        }
    }
    if let Some(found) = vxlan::find(netlink, tunnel_name).await? {
        let index = found.link.index;
        let addresses = address::list(netlink, index).await?;
        observed.addresses =
            addresses.into_iter().filter(|a| a.is_global).map(|a| a.network).collect();
        let neighbours = neigh::list_permanent(netlink, index).await?;
        observed.neighbours = neighbours.into_iter().map(|n| (n.ip, n.mac)).collect();
        let entries = fdb::list_remote(netlink, index).await?;
        observed.fdb = entries.into_iter().map(|entry| (entry.mac, entry.remote)).collect();
        observed.tunnel = Some(ObservedTunnel {
            name: tunnel_name.to_owned(),
            settings: settings(&found),
            index,
            is_up: found.link.is_up,
            learning: found.learning,
        });
    }
    for found in route::list(netlink, TABLE_MAIN).await? {
        if found.protocol == ROUTE_PROTOCOL {
            let hop = ObservedHop { link: found.link, gateway: found.gateway };
            observed.routes.insert(found.destination, hop);
        }
    }
    Ok(observed)
}

fn settings(found: &Vxlan) -> Option<Tunnel> {
    Some(Tunnel {
        name: found.link.name.clone(),
        vni: found.vni?,
        port: found.port?,
        local: found.local?,
        underlay: found.underlay?,
        mac: found.link.mac?,
        mtu: found.link.mtu,
    })
}
