//! Comparing and writing the maps with pods and nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use tracing::{debug, info};
use weir_datapath::{
    Error, Pins,
    common::{self, Mac, Route, V4, V6, map},
    maps::{Endpoints, Family, Routers, Routes},
};
use weir_netlink::{Link, link};

use super::{
    diff::{Change, diff},
    operations::Operations,
    plan::{Destination, Endpoint, PodState},
};

/// The maps, and the destinations that were last written.
#[derive(Debug)]
pub(super) struct State {
    v4: Maps<V4>,
    v6: Maps<V6>,
    routers: Routers,
    written: Option<BTreeMap<IpNetwork, Destination>>,
}

#[derive(Debug)]
struct Maps<A> {
    routes: Routes<A>,
    endpoints: Endpoints<A>,
}

/// Conversion to the addresses of one family.
pub(crate) trait OfIp: Family {
    /// The address, if it is of this family.
    fn of(ip: IpAddr) -> Option<Self>;
}

impl OfIp for V4 {
    fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(ip.into()),
            IpAddr::V6(_) => None,
        }
    }
}

impl OfIp for V6 {
    fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V6(ip) => Some(ip.into()),
            IpAddr::V4(_) => None,
        }
    }
}

impl State {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let (v4, v6) = (Maps::open(pins)?, Maps::open(pins)?);
        Ok(Self { v4, v6, routers: Routers::open(pins, map::ROUTERS)?, written: None })
    }

    /// Writes the destinations in the cluster. Without `thorough`, only if they differ from the last
    /// time.
    pub(super) fn ensure_cluster(
        &mut self,
        desired: &BTreeMap<IpNetwork, Destination>,
        thorough: bool,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        if !thorough && self.written.as_ref() == Some(desired) {
            return Ok(());
        }
        self.written = None;
        self.v4.ensure_cluster(desired, operations)?;
        self.v6.ensure_cluster(desired, operations)?;
        self.written = Some(desired.clone());
        Ok(())
    }

    /// Writes the node's pods. `links` are all links of the node.
    pub(super) fn ensure_pods(
        &mut self,
        desired: &PodState,
        links: &[Link],
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let links = Links::of(links);
        self.v4.ensure_pods(desired, &links, operations)?;
        self.v6.ensure_pods(desired, &links, operations)?;
        self.ensure_routers(&desired.routers, &links, operations)
    }

    /// Writes which pods may send with addresses of others. An entry without a record may belong to a
    /// pod that is being added.
    fn ensure_routers(
        &mut self,
        desired: &BTreeMap<u32, bool>,
        links: &Links,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let observed = self.routers.entries()?.into_iter().collect();
        let wanted = desired.iter().filter(|(_, routes)| **routes).map(|(link, _)| (*link, 1));
        let is_stale = |link: &u32, _: &u32| desired.contains_key(link) || links.is_gone(*link);
        for change in diff(&wanted.collect(), &observed, is_stale) {
            match change {
                Change::Set(link, value) => {
                    info!(link, "a pod may send with addresses of others");
                    self.routers.set(&link, &value)?;
                    *operations.entry("router_set").or_default() += 1;
                }
                Change::Remove(link) => {
                    info!(link, "a pod may no longer send with addresses of others");
                    self.routers.remove(&link)?;
                    *operations.entry("router_delete").or_default() += 1;
                }
            }
        }
        Ok(())
    }
}

/// The links of the node.
#[derive(Debug)]
struct Links(BTreeSet<u32>);

impl Links {
    fn of(links: &[Link]) -> Self {
        Self(links.iter().map(|link| link.index).collect())
    }

    /// Whether a link that an entry of a map leads to is gone. The list may be older than the entry of a
    /// pod that is being added, so the kernel is asked too.
    fn is_gone(&self, link: u32) -> bool {
        !self.0.contains(&link) && !link::exists(link)
    }
}

impl<A: OfIp> Maps<A> {
    fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { routes: Routes::open(pins)?, endpoints: Endpoints::open(pins, A::ENDPOINTS)? })
    }

    fn ensure_cluster(
        &mut self,
        desired: &BTreeMap<IpNetwork, Destination>,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let observed = self.routes.entries()?.into_iter();
        let observed = observed.map(|(address, length, route)| ((address, length), route));
        let wanted = desired.iter().filter_map(|(net, to)| route::<A>(*net, *to));
        for change in diff(&wanted.collect(), &observed.collect(), |_, _| true) {
            match change {
                Change::Set((address, length), route) => {
                    debug!(%address, length, ?route, "set a prefix of the cluster");
                    self.routes.set(address, length, &route)?;
                    *operations.entry("prefix_set").or_default() += 1;
                }
                Change::Remove((address, length)) => {
                    debug!(%address, length, "removed a prefix of the cluster");
                    self.routes.remove(address, length)?;
                    *operations.entry("prefix_delete").or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn ensure_pods(
        &mut self,
        desired: &PodState,
        links: &Links,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let observed: BTreeMap<A, common::Endpoint> =
            self.endpoints.entries()?.into_iter().collect();
        let wanted = desired.endpoints.iter();
        let wanted = wanted.filter_map(|(ip, to)| A::of(*ip).map(|ip| (ip, endpoint(*to))));
        // An entry without a record may belong to a pod that is being added.
        let is_stale = |_: &A, found: &common::Endpoint| links.is_gone(found.ifindex);
        for change in diff(&wanted.collect(), &observed, is_stale) {
            match change {
                Change::Set(address, endpoint) => {
                    debug!(%address, ?endpoint, "set a pod");
                    self.endpoints.set(&address, &endpoint)?;
                    *operations.entry("endpoint_set").or_default() += 1;
                }
                Change::Remove(address) => {
                    debug!(%address, "removed a pod that is gone");
                    self.endpoints.remove(&address)?;
                    *operations.entry("endpoint_delete").or_default() += 1;
                }
            }
        }
        Ok(())
    }
}

fn route<A: OfIp>(net: IpNetwork, to: Destination) -> Option<((A, u32), Route<A>)> {
    let next_hop = to.next_hop.and_then(A::of).unwrap_or_default();
    let route = Route { kind: to.kind as u32, ifindex: to.link, mtu: to.mtu, next_hop };
    Some(((A::of(net.network())?, net.prefix().into()), route))
}

fn endpoint(to: Endpoint) -> common::Endpoint {
    common::Endpoint {
        ifindex: to.link,
        mac: Mac(to.mac.octets()),
        netns: common::Endpoint::netns_field(to.netns),
    }
}
