//! The kernel's state as iproute2 prints it in JSON, so that tests share no code with the product.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::stack::Stack;

/// A network interface with its addresses.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Link {
    /// Index in its namespace.
    pub ifindex: u32,
    /// Name.
    #[serde(rename = "ifname")]
    pub name: String,
    /// `UP`, `LOWER_UP`, `BROADCAST` and so on.
    #[serde(default)]
    pub flags: Vec<String>,
    /// In bytes.
    pub mtu: u32,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// The MAC address as printed, `aa:bb:…`.
    #[serde(rename = "address")]
    pub mac: Option<String>,
    /// The interface alias.
    #[serde(rename = "ifalias")]
    pub alias: Option<String>,
    /// Its kind and attributes.
    #[serde(rename = "linkinfo", default)]
    pub info: LinkInfo,
    /// Its addresses.
    #[serde(rename = "addr_info", default)]
    pub addresses: Vec<Address>,
}

/// The kind and the attributes of a [`Link`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct LinkInfo {
    /// `veth`, `bridge`, …; `None` for physical ones and loopback.
    #[serde(rename = "info_kind")]
    pub kind: Option<String>,
    /// Attributes of its kind, without timers, which change all the time.
    #[serde(rename = "info_data", default, deserialize_with = "without_timers")]
    pub data: Value,
    /// Its attributes as a port of a bridge.
    #[serde(rename = "info_slave_data", default)]
    pub port: PortInfo,
}

/// Leaves timers out, so that two observations of an unchanged link are equal.
fn without_timers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let mut data = Value::deserialize(deserializer)?;
    if let Value::Object(attributes) = &mut data {
        attributes.retain(|name, _| !name.ends_with("_timer"));
    }
    Ok(data)
}

/// A bridge port's attributes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct PortInfo {
    /// Whether frames may leave through the port they came in.
    #[serde(default)]
    pub hairpin: bool,
}

/// An address of an interface.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Address {
    /// The address without its prefix length.
    pub local: IpAddr,
    /// Its prefix length.
    pub prefixlen: u8,
    /// `global`, `link`, `host`.
    pub scope: String,
    /// Whether duplicate address detection is still running, so that it cannot be used yet.
    #[serde(default)]
    pub tentative: bool,
}

impl Address {
    /// Address and prefix length.
    ///
    /// # Errors
    /// When the prefix length does not fit the family.
    pub fn network(&self) -> Result<IpNetwork> {
        IpNetwork::new(self.local, self.prefixlen).context("address with its prefix length")
    }
}

/// A route. A default route's `dst` is `default`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Route {
    /// `unicast`, `local`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The prefix, or `default`.
    pub dst: String,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub dev: Option<String>,
    /// `main`, `local`, or a number; `ip` leaves it out when it was asked for one table only.
    #[serde(default = "main_table")]
    pub table: String,
    /// `kernel`, `boot`, `static`, …
    pub protocol: String,
    /// `global`, `link`, `host`, or a number.
    pub scope: String,
    /// The priority.
    pub metric: Option<u32>,
    /// `onlink` and so on.
    #[serde(default)]
    pub flags: Vec<String>,
    /// `mtu`, `advmss` and so on.
    #[serde(default)]
    pub metrics: Vec<RouteMetrics>,
}

fn main_table() -> String {
    "main".to_owned()
}

/// The limits a route sets.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct RouteMetrics {
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Advertised maximal TCP segment.
    pub advmss: Option<u32>,
}

impl Route {
    /// The MTU of the route, if it has one.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        self.metrics.iter().find_map(|metrics| metrics.mtu)
    }

    /// The advertised segment size of the route, if it has one.
    #[must_use]
    pub fn advmss(&self) -> Option<u32> {
        self.metrics.iter().find_map(|metrics| metrics.advmss)
    }
}

/// An entry of a bridge's forwarding table.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct FdbEntry {
    /// The MAC address.
    pub mac: String,
    /// The port it is behind.
    #[serde(rename = "ifname")]
    pub port: String,
    /// The bridge, absent for the port's own entries.
    pub master: Option<String>,
    /// `permanent`, `static`, or empty for a learned one.
    #[serde(default)]
    pub state: String,
    /// The remote VTEP, for the port of a tunnel.
    pub dst: Option<IpAddr>,
    /// The VLAN, unless the entry is for all VLANs.
    pub vlan: Option<u16>,
}

/// A neighbour.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Neighbour {
    /// Its address.
    pub dst: IpAddr,
    /// Its MAC address.
    #[serde(rename = "lladdr")]
    pub mac: Option<String>,
    /// `PERMANENT`, `REACHABLE`, …
    #[serde(default)]
    pub state: Vec<String>,
}

impl Neighbour {
    /// Whether it is permanent, so that the kernel does not age it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.state.iter().any(|state| state == "PERMANENT")
    }
}

/// Observation of everything that has a network stack.
pub trait Observe: Stack {
    /// All interfaces, with their addresses.
    ///
    /// # Errors
    /// When `ip` fails.
    fn links(&self) -> Result<Vec<Link>> {
        json(self, "ip -j -d addr show")
    }

    /// The interface of this name, if there is one.
    ///
    /// # Errors
    /// When `ip` fails.
    fn find_link(&self, name: &str) -> Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// When it is missing.
    fn link(&self, name: &str) -> Result<Link> {
        self.find_link(name)?.with_context(|| format!("there is no interface {name}"))
    }

    /// The routes of both families in every table.
    ///
    /// # Errors
    /// When `ip` fails.
    fn routes(&self) -> Result<Vec<Route>> {
        let mut routes: Vec<Route> = json(self, "ip -j -d -4 route show table all")?;
        routes.extend(json::<Vec<Route>>(self, "ip -j -d -6 route show table all")?);
        Ok(routes)
    }

    /// The only route of table `main` to `dst`; `0.0.0.0/0` and `::/0` are the default routes.
    ///
    /// # Errors
    /// When there is no such route, or more than one.
    fn route(&self, dst: &str) -> Result<Route> {
        let (family, shown) = match dst {
            "0.0.0.0/0" => ("-4", "default"),
            "::/0" => ("-6", "default"),
            other if other.contains(':') => ("-6", other),
            other => ("-4", other),
        };
        let mut found: Vec<Route> = json(self, &format!("ip -j -d {family} route show"))?;
        found.retain(|route| route.dst == shown);
        ensure!(found.len() == 1, "expected exactly one route to {dst}: {found:?}");
        found.pop().context("one route")
    }

    /// The neighbours of both families on an interface.
    ///
    /// # Errors
    /// When `ip` fails.
    fn neighbours(&self, link: &str) -> Result<Vec<Neighbour>> {
        json(self, &format!("ip -j neigh show dev {link} nud all"))
    }

    /// The forwarding tables of all bridges and tunnels.
    ///
    /// A kernel with VLANs on bridges adds a copy of each entry for each VLAN of the port; by
    /// default there is one. The copies are left out.
    ///
    /// # Errors
    /// When `bridge` fails.
    fn fdb(&self) -> Result<Vec<FdbEntry>> {
        let mut entries: Vec<FdbEntry> = json(self, "bridge -j fdb show")?;
        entries.retain(|entry| entry.vlan.is_none());
        Ok(entries)
    }
}

impl<S: Stack> Observe for S {}

fn json<T: DeserializeOwned>(stack: &impl Stack, line: &str) -> Result<T> {
    let text = stack.sh(line)?;
    serde_json::from_str(&text).with_context(|| format!("the output of {line}: {text}"))
}
