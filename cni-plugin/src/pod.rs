//! The container's side: its interface, addresses and routes.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use tracing::warn;
use weir_netlink::{
    Netlink, Netns, address,
    link::{self, LinkChange},
    route, sysctl,
};

use crate::{Error, attributes::RouteAttributes, parameters};

/// An address of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The address with its subnet's prefix length.
    pub(crate) network: IpNetwork,
    /// The subnet's gateway.
    pub(crate) gateway: IpAddr,
}

/// The pod's routes: those of the configuration for the families of the pod's addresses, each with its
/// gateway, and the default routes that the configuration wants and does not list.
pub(crate) fn routes(
    configured: &[RouteAttributes],
    default_gateway: bool,
    assigned: &[Assignment],
) -> Vec<RouteAttributes> {
    let mut routes = Vec::new();
    for route in configured {
        if gateway_for(route.dst, assigned).is_some() {
            routes.push(route.clone());
        } else {
            warn!(dst = %route.dst, "skipped a route: the pod has no address of its family");
        }
    }
    if default_gateway {
        for ipv4 in [true, false] {
            let has_default =
                |route: &RouteAttributes| route.is_default() && route.dst.is_ipv4() == ipv4;
            if routes.iter().any(has_default) {
                continue;
            }
            let first = assigned.iter().find(|assignment| assignment.network.is_ipv4() == ipv4);
            routes.extend(first.map(|first| RouteAttributes::default_via(first.gateway)));
        }
    }
    routes
}

/// The gateway of the first address of the destination's family.
pub(crate) fn gateway_for(destination: IpNetwork, assigned: &[Assignment]) -> Option<IpAddr> {
    assigned
        .iter()
        .find(|assignment| assignment.network.is_ipv4() == destination.is_ipv4())
        .map(|assignment| assignment.gateway)
}

/// Configures the pod's interface, given by its name and its index. It must exist and be down. When
/// this returns, the interface passes packets.
pub(crate) async fn configure(
    netns: &Netns,
    netlink: &Netlink,
    (ifname, index): (&str, u32),
    assigned: &[Assignment],
    routes: &[RouteAttributes],
) -> Result<(), Error> {
    let has_ipv6 = assigned.iter().any(|assignment| assignment.network.is_ipv6());
    let prepare = || {
        parameters::ensure_interface(ifname)?;
        if has_ipv6 { prepare_ipv6(ifname) } else { Ok(()) }
    };
    netns.run(prepare).map_err(Error::Namespace)??;
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    link::change(netlink, index, &up).await?;
    for assignment in assigned {
        address::ensure(netlink, index, assignment.network).await?;
    }
    for attributes in routes {
        let gateway = gateway_for(attributes.dst, assigned);
        if !route::add(netlink, &attributes.on_link(index, gateway)).await? {
            // The default route of a pod's first network stays when a second network is added.
            warn!(dst = %attributes.dst, "kept the route that the pod already has to this destination");
        }
    }
    Ok(())
}

/// Enables IPv6, without duplicate address detection for the link-local address: it is derived from a
/// MAC address that only this pod has.
fn prepare_ipv6(ifname: &str) -> Result<(), Error> {
    for (parameter, value) in [("disable_ipv6", "0"), ("accept_dad", "0")] {
        sysctl::ensure(&format!("net/ipv6/conf/{ifname}/{parameter}"), value)?;
    }
    Ok(())
}
