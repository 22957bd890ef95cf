//! The content of the maps, for both families.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use weir_datapath::common::map::{self, Map};
use weir_datapath::common::{Address, Flow, Reason, Service, V4, V6};
use weir_datapath::maps::{
    Backends, Counters, Endpoints, Family, Flows, Routers, Routes, Services, Slots,
};
use weir_datapath::{Error, Pins};
use weir_services::tables::{Backend, FrontendKey, Scope};
use weir_services::wire;

use crate::protocol::Protocol;

/// An address of a map, of either family.
pub(crate) trait ToIp: Address {
    /// The address.
    fn ip(self) -> IpAddr;
    /// Whether it is IPv4.
    const IS_V4: bool;
}

impl ToIp for V4 {
    const IS_V4: bool = true;

    fn ip(self) -> IpAddr {
        self.bytes().into()
    }
}

impl ToIp for V6 {
    const IS_V4: bool = false;

    fn ip(self) -> IpAddr {
        self.bytes().into()
    }
}

/// A port of a Service at one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frontend {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) service: Service,
}

/// A backend's ID, which is unique in its family.
pub(crate) type BackendId = (bool, u32);

/// All frontends and backends.
#[derive(Debug, Default)]
pub(crate) struct Programmed {
    /// By address, port and protocol.
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) backends: HashMap<BackendId, Backend>,
    pub(crate) slots: Vec<u32>,
}

impl Programmed {
    /// Reads the maps.
    pub(crate) fn read(pins: &Pins) -> Result<Self, Error> {
        let mut programmed = Self { slots: Slots::open(pins)?.all()?, ..Self::default() };
        programmed.read_family::<V4>(pins)?;
        programmed.read_family::<V6>(pins)?;
        programmed.frontends.sort_by_key(|found| (found.address, found.port, found.protocol));
        Ok(programmed)
    }

    fn read_family<A: Family + ToIp + Into<IpAddr>>(&mut self, pins: &Pins) -> Result<(), Error> {
        for (key, service) in Services::<A>::open(pins, A::SERVICES)?.entries()? {
            let Some(FrontendKey { ip: address, port, scope }) = wire::decode_frontend_key(&key)
            else {
                continue;
            };
            // The guard for unknown ports of an address has no port.
            if let Some((port, protocol)) = port.filter(|_| scope == Scope::Internal) {
                let protocol = Protocol(wire::protocol_number(protocol));
                self.frontends.push(Frontend { address, port, protocol, service });
            }
        }
        for (id, found) in Backends::<A>::open(pins, A::BACKENDS)?.entries()? {
            self.backends.insert((A::IS_V4, id), wire::decode_backend(&found));
        }
        Ok(())
    }

    /// The IDs of the backends that get new flows of a frontend. An ID can occur more than once.
    pub(crate) fn eligible_backends(
        &self,
        frontend: &Frontend,
    ) -> impl Iterator<Item = BackendId> + '_ {
        let Service { offset, count, .. } = frontend.service;
        let is_v4 = frontend.address.is_ipv4();
        let slots = self.slots.iter().skip(offset as usize).take(count as usize);
        slots.map(move |id| (is_v4, *id))
    }
}

/// The interface index and MAC address of each local pod, by its address.
pub(crate) fn endpoints(pins: &Pins) -> Result<HashMap<IpAddr, (u32, [u8; 6])>, Error> {
    fn of<A: Family + ToIp>(
        pins: &Pins,
        all: &mut HashMap<IpAddr, (u32, [u8; 6])>,
    ) -> Result<(), Error> {
        let entries = Endpoints::<A>::open(pins, A::ENDPOINTS)?.entries()?;
        all.extend(entries.into_iter().map(|(ip, found)| (ip.ip(), (found.ifindex, found.mac.0))));
        Ok(())
    }
    let mut all = HashMap::new();
    of::<V4>(pins, &mut all)?;
    of::<V6>(pins, &mut all)?;
    Ok(all)
}

/// The devices of pods that may send with addresses of others, by their indices.
pub(crate) fn routers(pins: &Pins) -> Result<BTreeSet<u32>, Error> {
    let entries = Routers::open(pins, map::ROUTERS)?.entries()?;
    Ok(entries.into_iter().map(|(device, _)| device).collect())
}

/// What a full map does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Refuses new entries.
    Refuses,
    /// Evicts the oldest entry.
    Evicts,
}

/// The fill level of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) map: &'static str,
    pub(crate) when_full: WhenFull,
    pub(crate) entries: usize,
    pub(crate) capacity: u32,
}

/// The fill level of each map with entries.
pub(crate) fn fill(pins: &Pins) -> Result<Vec<Fill>, Error> {
    let mut all = Vec::new();
    for map in map::ALL {
        let when_full = match *map {
            // These have a constant number of entries.
            map::COUNTERS | map::CONFIG | map::CURSORS => continue,
            // The rings of flows are always full, and few pods are routers.
            map::BRIEF_TCP_V4
            | map::BRIEF_TCP_V6
            | map::BRIEF_DGRAM_V4
            | map::BRIEF_DGRAM_V6
            | map::ROUTERS => continue,
            map::FLOWS_TCP_V4 | map::FLOWS_DGRAM_V4 => {
                all.push(flow_fill::<V4>(pins, *map)?);
                continue;
            }
            map::FLOWS_TCP_V6 | map::FLOWS_DGRAM_V6 => {
                all.push(flow_fill::<V6>(pins, *map)?);
                continue;
            }
            map::SLOTS => {
                all.push(slots(pins)?);
                continue;
            }
            map::ROUTES_V4 => {
                all.push(route_fill::<V4>(pins)?);
                continue;
            }
            map::ROUTES_V6 => {
                all.push(route_fill::<V6>(pins)?);
                continue;
            }
            map::SERVICES_V4
            | map::SERVICES_V6
            | map::BACKENDS_V4
            | map::BACKENDS_V6
            | map::ENDPOINTS_V4
            | map::ENDPOINTS_V6 => WhenFull::Refuses,
            _ => WhenFull::Evicts,
        };
        let (entries, capacity) = weir_datapath::maps::fill(pins, *map)?;
        all.push(Fill { map: map.name, when_full, entries, capacity });
    }
    Ok(all)
}

/// Counts the slots of all frontends. Frontends of both families can share a range.
fn slots(pins: &Pins) -> Result<Fill, Error> {
    let mut ranges = HashMap::new();
    let v4 = Services::<V4>::open(pins, map::SERVICES_V4)?.entries()?;
    let v6 = Services::<V6>::open(pins, map::SERVICES_V6)?.entries()?;
    for service in v4.iter().map(|(_, service)| service).chain(v6.iter().map(|(_, s)| s)) {
        // The offset of an empty range may be that of another.
        if service.count > 0 {
            ranges.insert(service.offset, service.count);
        }
    }
    let entries = ranges.values().map(|count| *count as usize).sum();
    let capacity = Slots::open(pins)?.capacity();
    Ok(Fill { map: map::SLOTS.name, when_full: WhenFull::Refuses, entries, capacity })
}

/// Counts the entries of flows that last: the others are removed for new ones.
fn flow_fill<A: Family>(pins: &Pins, map: Map) -> Result<Fill, Error> {
    let flows = Flows::<A>::open(pins, map)?;
    let is_lasting = |flow: &Flow<A>| !flow.is_reverse() && flow.is_lasting();
    let lasting = flows.entries()?.iter().filter(|(_, flow)| is_lasting(flow)).count();
    let capacity = flows.capacity()?;
    Ok(Fill { map: map.name, when_full: WhenFull::Refuses, entries: lasting * 2, capacity })
}

fn route_fill<A: Family>(pins: &Pins) -> Result<Fill, Error> {
    let routes = Routes::<A>::open(pins)?;
    let (entries, capacity) = (routes.entries()?.len(), routes.capacity()?);
    Ok(Fill { map: A::ROUTES.name, when_full: WhenFull::Refuses, entries, capacity })
}

/// The counter of each reason, since the maps were created.
pub(crate) fn counters(pins: &Pins) -> Result<Vec<(Reason, u64)>, Error> {
    let counters = Counters::open(pins)?;
    Reason::ALL.into_iter().map(|reason| Ok((reason, counters.get(reason)?))).collect()
}

/// A route of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) prefix: IpNetwork,
    /// See [`weir_datapath::common::RouteKind`].
    pub(crate) kind: u32,
    pub(crate) ifindex: u32,
    pub(crate) next_hop: IpAddr,
}

/// All routes of the cluster.
pub(crate) fn routes(pins: &Pins) -> Result<Vec<Route>, Error> {
    fn of<A: Family + ToIp>(pins: &Pins, all: &mut Vec<Route>) -> Result<(), Error> {
        for (address, length, route) in Routes::<A>::open(pins)?.entries()? {
            let length = u8::try_from(length).unwrap_or(u8::MAX);
            // The kernel accepts no prefix longer than an address.
            let Ok(prefix) = IpNetwork::new(address.ip(), length) else { continue };
            let next_hop = route.next_hop.ip();
            all.push(Route { prefix, kind: route.kind, ifindex: route.ifindex, next_hop });
        }
        Ok(())
    }
    let mut all = Vec::new();
    of::<V4>(pins, &mut all)?;
    of::<V6>(pins, &mut all)?;
    Ok(all)
}
