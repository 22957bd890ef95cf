//! The host's side: the bridge with the gateway addresses, and the kernel parameters that it needs.

use ipnetwork::IpNetwork;
use tracing::{info, warn};
use weir_netlink::{
    Link, MacAddr, Netlink, address,
    bridge::{self, BridgeSpec},
    sysctl,
};

use crate::{Error, config::NetworkConfig, mac::mac_for, range::RangeSet};

const FORWARDING_V4: &str = "net/ipv4/ip_forward";
const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

/// Ensures that the bridge exists and returns it. Calls for the same bridge may race.
pub(crate) async fn ensure_bridge(
    netlink: &Netlink,
    config: &NetworkConfig,
    sets: &[RangeSet],
    mtu: u32,
) -> Result<Link, Error> {
    let wanted = gateways(sets);
    let spec = BridgeSpec { name: config.bridge.clone(), mac: mac_of_bridge(&wanted), mtu };
    let bridge = bridge::ensure(netlink, &spec).await?;
    let missing = missing_gateways(netlink, &bridge, &wanted).await?;
    // Parameters first: they control duplicate address detection.
    let has_ipv6 = wanted.iter().any(IpNetwork::is_ipv6);
    ensure_parameters(&bridge.name, has_ipv6)?;
    for gateway in missing {
        address::ensure(netlink, bridge.index, gateway).await?;
        info!(bridge = bridge.name, %gateway, "added the gateway address");
    }
    Ok(bridge)
}

/// The gateway addresses that the bridge lacks. It is an error if the bridge has addresses of a family
/// and none of them is a gateway of the configuration: the bridge serves another subnet.
pub(crate) async fn missing_gateways(
    netlink: &Netlink,
    bridge: &Link,
    wanted: &[IpNetwork],
) -> Result<Vec<IpNetwork>, Error> {
    let present: Vec<IpNetwork> = address::list(netlink, bridge.index)
        .await?
        .into_iter()
        .filter(|address| address.is_global)
        .map(|address| address.network)
        .collect();
    for first in [first_of(wanted, true), first_of(wanted, false)].into_iter().flatten() {
        let mut of_family = present.iter().filter(|ip| ip.is_ipv4() == first.is_ipv4()).peekable();
        if let Some(found) = of_family.peek().copied().copied()
            && !of_family.any(|ip| wanted.contains(ip))
        {
            return Err(Error::OtherSubnet { bridge: bridge.name.clone(), found, wanted: first });
        }
    }
    Ok(wanted.iter().copied().filter(|gateway| !present.contains(gateway)).collect())
}

/// The addresses that the bridge must have: a gateway for each subnet.
pub(crate) fn gateways(sets: &[RangeSet]) -> Vec<IpNetwork> {
    let mut gateways = Vec::new();
    for range in sets.iter().flat_map(RangeSet::ranges) {
        let gateway = range.gateway_network();
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    gateways
}

fn first_of(networks: &[IpNetwork], ipv4: bool) -> Option<IpNetwork> {
    networks.iter().copied().find(|network| network.is_ipv4() == ipv4)
}

/// The address is derived from the configuration, so that calls that race to create the bridge agree
/// on it.
fn mac_of_bridge(gateways: &[IpNetwork]) -> MacAddr {
    let first = first_of(gateways, true).or_else(|| first_of(gateways, false));
    mac_for(first.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |network| network.ip()))
}

fn ensure_parameters(bridge: &str, has_ipv6: bool) -> Result<(), Error> {
    set(FORWARDING_V4, "1")?;
    // Pods of one bridge reach a Service through their gateway, and need no redirects.
    set(&format!("net/ipv4/conf/{bridge}/send_redirects"), "0")?;
    // No pod is a router of the node.
    set(&format!("net/ipv4/conf/{bridge}/accept_redirects"), "0")?;
    let v6 = format!("net/ipv6/conf/{bridge}");
    match sysctl::ensure(&format!("{v6}/accept_ra"), "0") {
        // A kernel without IPv6.
        Err(error) if error.is_not_found() && !has_ipv6 => return Ok(()),
        outcome => outcome?,
    };
    set(&format!("{v6}/accept_redirects"), "0")?;
    // No other host can have the link-local address of the bridge.
    set(&format!("{v6}/accept_dad"), "0")?;
    if has_ipv6 {
        set(&format!("{v6}/disable_ipv6"), "0")?;
        ensure_ipv6_forwarding()?;
    }
    Ok(())
}

/// Turns on IPv6 forwarding and keeps the default route. A forwarding node ignores router
/// advertisements on links with `accept_ra` 1, and would lose a default route that came from one. With
/// `accept_ra` 2 the link accepts them as before.
fn ensure_ipv6_forwarding() -> Result<(), Error> {
    if sysctl::read(FORWARDING_V6)? == "1" {
        return Ok(());
    }
    for interface in interfaces_with_ipv6() {
        let key = format!("net/ipv6/conf/{interface}/accept_ra");
        if sysctl::read(&key).is_ok_and(|value| value == "1") {
            match sysctl::ensure(&key, "2") {
                Ok(_) => info!(
                    interface,
                    "set accept_ra to 2: router advertisements are accepted while IPv6 is forwarded"
                ),
                Err(error) => {
                    warn!(interface, %error, "routes from router advertisements may be lost");
                }
            }
        }
    }
    set(FORWARDING_V6, "1")
}

fn interfaces_with_ipv6() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo")).collect()
}

fn set(key: &str, value: &str) -> Result<(), Error> {
    if sysctl::ensure(key, value)? == sysctl::Outcome::Changed {
        info!(key, value, "set a kernel parameter");
    }
    Ok(())
}
