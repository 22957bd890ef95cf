//! The maps that say where pods and nodes are: read, compared, written.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use tracing::debug;
use weir_datapath::{
    Error, Pins,
    common::{self, Mac, Route, V4, V6},
    maps::{Endpoints, Family, Routes},
};
use weir_netlink::Link;

use super::{
    Operations,
    diff::{Change, diff},
    plan::{Destination, Endpoint, OfPods},
};

/// The maps, and what was last written.
#[derive(Debug)]
pub(super) struct State {
    v4: Maps<V4>,
    v6: Maps<V6>,
    written: Option<BTreeMap<IpNetwork, Destination>>,
}

#[derive(Debug)]
struct Maps<A> {
    routes: Routes<A>,
    endpoints: Endpoints<A>,
}

/// An address family, from what the agent knows.
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
        Ok(Self { v4: Maps::open(pins)?, v6: Maps::open(pins)?, written: None })
    }

    /// Makes the maps lead to the cluster; without `thorough` only if something else is desired than
    /// the last time.
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

    /// Makes the maps lead to the node's pods. `links` are all of the node's.
    pub(super) fn ensure_pods(
        &mut self,
        desired: &OfPods,
        links: &[Link],
        operations: &mut Operations,
    ) -> Result<(), Error> {
        self.v4.ensure_pods(desired, links, operations)?;
        self.v6.ensure_pods(desired, links, operations)
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
        for change in diff(&wanted.collect(), &observed.collect(), |_| true) {
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
        desired: &OfPods,
        links: &[Link],
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let observed: BTreeMap<A, common::Endpoint> =
            self.endpoints.entries()?.into_iter().collect();
        let wanted = desired.endpoints.iter();
        let wanted = wanted.filter_map(|(ip, to)| A::of(*ip).map(|ip| (ip, endpoint(*to))));
        // One without a record may be of a pod that is just being added.
        let is_stale =
            |found: &common::Endpoint| links.iter().all(|link| link.index != found.ifindex);
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
