//! Routes in configurations and results, in the format of the specification.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weir_netlink::route::{Route, TABLE_MAIN};

use crate::Error;

/// A route of the pod. Version 1.1.0 added `mtu`, `advmss`, `priority`, `table` and `scope`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAttributes {
    /// Destination.
    pub dst: IpNetwork,
    /// Next hop; absent means the subnet's gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// MTU of the path, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest TCP segment that is advertised, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric; the lowest is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table; absent means main.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope number (0 universe, 253 link).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl RouteAttributes {
    /// The default route of a family.
    pub(crate) fn default_via(gateway: IpAddr) -> Self {
        let unspecified = match gateway {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        Self {
            // A prefix length of zero is valid in both families.
            dst: IpNetwork::new(unspecified, 0).unwrap_or(IpNetwork::from(unspecified)),
            gw: Some(gateway),
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }

    /// Whether this is a default route.
    pub(crate) fn is_default(&self) -> bool {
        self.dst.prefix() == 0 && self.table.is_none_or(|table| table == TABLE_MAIN)
    }

    /// Checks the values; `key` is the route's path in the configuration.
    pub(crate) fn check(&self, key: &str) -> Result<(), Error> {
        let Self { dst, gw, .. } = self;
        if dst.ip() != dst.network() {
            let problem = format!("{dst} has host bits set; its network is {}", dst.network());
            return Err(Error::config(format!("{key}.dst"), problem));
        }
        let Some(gateway) = *gw else { return Ok(()) };
        if gateway.is_ipv4() != dst.is_ipv4() {
            let problem = format!("its family differs from that of dst {dst}");
            return Err(Error::config(format!("{key}.gw"), problem));
        }
        // The kernel takes the unspecified address for no gateway: the destination would be on the link.
        if gateway.is_unspecified() || gateway.is_multicast() || gateway.is_loopback() {
            let problem = format!("{gateway} is not the address of a router");
            return Err(Error::config(format!("{key}.gw"), problem));
        }
        Ok(())
    }

    /// The kernel's form of it, on the link with this index. Where it names no gateway it goes by
    /// that of its family's subnet, unless its scope says that the destination is on the link.
    pub(crate) fn on_link(&self, link: u32, gateway: Option<IpAddr>) -> Route {
        let is_on_link = self.scope == Some(SCOPE_LINK);
        let gateway = self.gw.or(if is_on_link { None } else { gateway });
        Route {
            table: self.table.unwrap_or(TABLE_MAIN),
            priority: self.priority,
            mtu: self.mtu,
            advmss: self.advmss,
            scope: self.scope,
            ..Route::new(self.dst, gateway, link)
        }
    }
}

/// `RT_SCOPE_LINK` of `linux/rtnetlink.h`.
const SCOPE_LINK: u8 = 253;
