//! Executes the operations.

use futures_util::{StreamExt, stream};
use ipnetwork::IpNetwork;
use weir_netlink::{
    Error, Netlink, address,
    fdb::{self, TunnelEntry},
    link::{self, LinkChange},
    neigh::{self, Neighbour},
    route::{self, Route},
    vxlan,
};

use super::{
    ROUTE_PROTOCOL,
    diff::{ObservedHop, Op},
    plan::{Hop, Tunnel},
};

/// How many requests for peers are in flight at once.
const WINDOW: usize = 256;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {op}")]
pub struct Failure {
    op: Op,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Netlink(#[from] Error),
    #[error("another program has a route to the same destination")]
    ForeignRoute,
    #[error("the tunnel device does not exist")]
    NoTunnel,
    #[error(
        "another VXLAN device has the same VNI and port (ip -d link show type vxlan): delete it, or \
         choose another Backend.VNI"
    )]
    VniTaken,
}

/// Executes the operations and returns those that failed. The others are tried in any case.
/// Operations on the device and its addresses run in order, those on peers' entries concurrently.
pub async fn apply(netlink: &Netlink, tunnel_name: &str, ops: Vec<Op>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let (in_order, peers): (Vec<_>, Vec<_>) = ops.into_iter().partition(is_in_order);
    for op in in_order {
        let outcome = apply_one(netlink, tunnel_name, None, &op).await;
        failures.extend(outcome.err().map(|cause| Failure { op, cause }));
    }
    let tunnel = link::find(netlink, tunnel_name).await.ok().flatten().map(|link| link.index);
    // Deletions come first: the FDB has one remote for each MAC address. Routes come last, so that an
    // existing route has all the entries that it needs.
    for stage in [is_deletion as fn(&Op) -> bool, is_entry, is_route] {
        let ops = peers.iter().filter(|op| stage(op)).cloned();
        let outcomes = stream::iter(ops).map(|op| async move {
            let outcome = apply_one(netlink, tunnel_name, tunnel, &op).await;
            outcome.err().map(|cause| Failure { op, cause })
        });
        let mut outcomes = outcomes.buffer_unordered(WINDOW);
        while let Some(failure) = outcomes.next().await {
            failures.extend(failure);
        }
    }
    failures
}

const fn is_in_order(op: &Op) -> bool {
    matches!(
        op,
        Op::DeleteTunnel(_)
            | Op::CreateTunnel(_)
            | Op::ChangeTunnel(_)
            | Op::AddAddress(_)
            | Op::DeleteAddress(_)
    )
}

const fn is_deletion(op: &Op) -> bool {
    matches!(op, Op::DeleteRoute(..) | Op::DeleteNeighbour(_) | Op::DeleteFdb(..))
}

const fn is_entry(op: &Op) -> bool {
    matches!(op, Op::SetNeighbour(..) | Op::SetFdb(..))
}

const fn is_route(op: &Op) -> bool {
    matches!(op, Op::AddRoute(..) | Op::ReplaceRoute(..))
}

async fn apply_one(
    netlink: &Netlink,
    tunnel_name: &str,
    tunnel: Option<u32>,
    op: &Op,
) -> Result<(), Cause> {
    let on_tunnel = || tunnel.ok_or(Cause::NoTunnel);
    match op {
        Op::DeleteTunnel(name) => {
            link::delete(netlink, name).await?;
        }
        Op::CreateTunnel(tunnel) => match vxlan::create(netlink, tunnel).await {
            Err(error) if error.is_already_there() => return Err(Cause::VniTaken),
            outcome => outcome?,
        },
        Op::ChangeTunnel(tunnel) => change_tunnel(netlink, tunnel).await?,
        Op::AddAddress(network) => {
            let index = index_of(netlink, tunnel_name).await?;
            address::ensure(netlink, index, *network).await?;
        }
        Op::DeleteAddress(network) => {
            let index = index_of(netlink, tunnel_name).await?;
            address::delete(netlink, index, *network).await?;
        }
        Op::SetNeighbour(ip, mac) => {
            neigh::ensure(netlink, &Neighbour { link: on_tunnel()?, ip: *ip, mac: *mac }).await?;
        }
        Op::DeleteNeighbour(ip) => {
            neigh::delete(netlink, on_tunnel()?, *ip).await?;
        }
        Op::SetFdb(mac, remote) => {
            let entry = TunnelEntry { link: on_tunnel()?, mac: *mac, remote: *remote };
            fdb::ensure_remote(netlink, &entry).await?;
        }
        Op::DeleteFdb(mac, remote) => {
            let entry = TunnelEntry { link: on_tunnel()?, mac: *mac, remote: *remote };
            fdb::delete_remote(netlink, &entry).await?;
        }
        Op::AddRoute(cidr, hop) => {
            let route = route_to(*cidr, hop, tunnel)?;
            if !route::add(netlink, &route).await? {
                return Err(Cause::ForeignRoute);
            }
        }
        Op::ReplaceRoute(cidr, hop) => {
            route::ensure(netlink, &route_to(*cidr, hop, tunnel)?).await?;
        }
        Op::DeleteRoute(cidr, ObservedHop { link, gateway }) => {
            let route = Route { protocol: ROUTE_PROTOCOL, ..Route::new(*cidr, *gateway, *link) };
            route::delete(netlink, &route).await?;
        }
    }
    Ok(())
}

async fn index_of(netlink: &Netlink, name: &str) -> Result<u32, Cause> {
    link::find(netlink, name).await?.map(|link| link.index).ok_or(Cause::NoTunnel)
}

async fn change_tunnel(netlink: &Netlink, tunnel: &Tunnel) -> Result<(), Cause> {
    let index = index_of(netlink, &tunnel.name).await?;
    let change = LinkChange {
        up: Some(true),
        mtu: Some(tunnel.mtu),
        mac: Some(tunnel.mac),
        ..LinkChange::default()
    };
    Ok(link::change(netlink, index, &change).await?)
}

fn route_to(cidr: IpNetwork, hop: &Hop, tunnel: Option<u32>) -> Result<Route, Cause> {
    let (gateway, link, on_link) = match hop {
        // An IPv4 gateway outside of the link's subnets needs the flag onlink.
        Hop::Tunnel { gateway } => (*gateway, tunnel.ok_or(Cause::NoTunnel)?, gateway.is_ipv4()),
        Hop::Direct { gateway, link } => (*gateway, *link, false),
    };
    let route = Route::new(cidr, Some(gateway), link);
    Ok(Route { protocol: ROUTE_PROTOCOL, on_link, ..route })
}
