//! Unicast routes.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
            RouteProtocol, RouteScope, RouteType,
        },
    },
};

use crate::{Error, Netlink};

/// `RTPROT_BOOT`: the protocol of routes that nobody marks, which `ip route add` uses.
pub const PROTOCOL_BOOT: u8 = 3;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination; prefix length 0 is the default route.
    pub destination: IpNetwork,
    /// Next hop; `None` means that the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the link that packets leave by.
    pub link: u32,
    /// Routing protocol number (`/etc/iproute2/rt_protos`), which marks the owner of the route.
    pub protocol: u8,
    /// Routing table (254 is main).
    pub table: u32,
    /// The gateway is taken to be on the link even if no prefix says so (`RTNH_F_ONLINK`).
    pub on_link: bool,
    /// Metric; the lowest is preferred. The default of IPv6 is 1024.
    pub priority: Option<u32>,
    /// MTU of the path, in bytes.
    pub mtu: Option<u32>,
    /// Largest TCP segment that is advertised, in bytes.
    pub advmss: Option<u32>,
    /// Scope number (0 universe, 253 link); `None` lets the gateway decide.
    pub scope: Option<u8>,
}

/// The main table (`RT_TABLE_MAIN`).
pub const TABLE_MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

impl Route {
    /// A route in the main table with default attributes.
    pub fn new(destination: IpNetwork, gateway: Option<IpAddr>, link: u32) -> Self {
        Self {
            destination,
            gateway,
            link,
            protocol: PROTOCOL_BOOT,
            table: TABLE_MAIN,
            on_link: false,
            priority: None,
            mtu: None,
            advmss: None,
            scope: None,
        }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(self.destination.ip());
        header.destination_prefix_length = self.destination.prefix();
        header.protocol = RouteProtocol::from(self.protocol);
        header.kind = RouteType::Unicast;
        header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        header.scope = match (self.scope, self.gateway) {
            (Some(scope), _) => RouteScope::from(scope),
            // The kernel requires this scope for an IPv4 destination without a gateway.
            (None, None) if self.destination.is_ipv4() => RouteScope::Link,
            (None, _) => RouteScope::Universe,
        };
        if self.on_link {
            header.flags = RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        attributes.push(RouteAttribute::Oif(self.link));
        if self.destination.prefix() > 0 {
            attributes.push(RouteAttribute::Destination(address(self.destination.network())));
        }
        attributes.extend(self.gateway.map(|ip| RouteAttribute::Gateway(address(ip))));
        attributes.extend(self.priority.map(RouteAttribute::Priority));
        let metrics: Vec<_> = (self.mtu.map(RouteMetric::Mtu).into_iter())
            .chain(self.advmss.map(RouteMetric::Advmss))
            .collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        message
    }

    pub(crate) fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.kind != RouteType::Unicast {
            return None;
        }
        let unspecified: IpAddr = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut route = Self {
            protocol: header.protocol.into(),
            table: header.table.into(),
            on_link: header.flags.contains(RouteFlags::Onlink),
            scope: Some(header.scope.into()),
            ..Self::new(IpNetwork::new(unspecified, 0).ok()?, None, 0)
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(destination) => {
                    let ip = ip(destination)?;
                    route.destination =
                        IpNetwork::new(ip, header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
                RouteAttribute::Oif(index) => route.link = *index,
                RouteAttribute::Priority(priority) => route.priority = Some(*priority),
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Metrics(metrics) => {
                    for metric in metrics {
                        match metric {
                            RouteMetric::Mtu(mtu) => route.mtu = Some(*mtu),
                            RouteMetric::Advmss(advmss) => route.advmss = Some(*advmss),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(route)
    }
}

/// Adds a route. Returns `false`, and changes nothing, if the table has a route for the same
/// destination and metric.
pub async fn add(netlink: &Netlink, route: &Route) -> Result<bool, Error> {
    match new_route(netlink, route, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_already_there() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes sure that this is the table's route for its destination and metric, replacing another.
pub async fn ensure(netlink: &Netlink, route: &Route) -> Result<(), Error> {
    new_route(netlink, route, NLM_F_CREATE | NLM_F_REPLACE).await
}

async fn new_route(netlink: &Netlink, route: &Route, flags: u16) -> Result<(), Error> {
    netlink
        .execute(RouteNetlinkMessage::NewRoute(route.message()), flags, || {
            let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            format!("add route to {}{via} on link number {}", route.destination, route.link)
        })
        .await
}

/// Deletes a route. Returns whether it was there.
pub async fn delete(netlink: &Netlink, route: &Route) -> Result<bool, Error> {
    let outcome = netlink
        .execute(RouteNetlinkMessage::DelRoute(route.message()), 0, || {
            format!("delete route to {} on link number {}", route.destination, route.link)
        })
        .await;
    Error::absent_is_false(outcome)
}

/// The unicast routes of a table, both families.
pub async fn list(netlink: &Netlink, table: u32) -> Result<Vec<Route>, Error> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.attributes.push(RouteAttribute::Table(table));
        let objects = netlink
            .dump(RouteNetlinkMessage::GetRoute(request), || {
                format!("list routes of table {table}")
            })
            .await?;
        routes.extend(objects.iter().filter_map(|object| match object {
            RouteNetlinkMessage::NewRoute(message) => Route::read(message),
            _ => None,
        }));
    }
    routes.retain(|route| route.table == table);
    Ok(routes)
}

const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

const fn address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
