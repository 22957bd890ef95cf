//! The bridge's FDB entry of a pod: no two interfaces on a bridge have the same MAC address.
//!
//! A bridge has one entry for a MAC address. An entry for a second interface would take all frames of the
//! first one, and one for the MAC address of the bridge itself would cut all pods off the node.

use std::collections::HashSet;

use weir_netlink::{Link, LinkKind, MacAddr, Netlink, fdb, link};

use crate::{
    Error,
    mac::{ChosenMac, mac_for},
    node::gateways,
    range::RangeSet,
    record::Records,
};

/// Checks a MAC address before anything is changed: nothing on the bridge has it but `port`, which would
/// be of the same attachment, and the bridge does not get it when it is created again.
pub(crate) async fn check(
    host: &Netlink,
    bridge: &str,
    sets: &[RangeSet],
    mac: &ChosenMac,
    port: &str,
) -> Result<(), Error> {
    let bridge = link::find(host, bridge).await?;
    // A link of another kind is an error of a later step.
    if let Some(bridge) = bridge.filter(|link| link.kind == Some(LinkKind::Bridge))
        && let Some(owner) = owner(host, &bridge, mac.address).await?
        && owner.name != port
    {
        return Err(taken(mac, describe(owner)));
    }
    let gateway = gateways(sets).into_iter().find(|gateway| mac_for(gateway.ip()) == mac.address);
    gateway.map_or(Ok(()), |gateway| Err(taken(mac, format!("the gateway {}", gateway.ip()))))
}

/// The entry sends frames for the MAC address to `port`. Of two calls at the same time for one MAC
/// address, one fails.
pub(crate) async fn take(
    host: &Netlink,
    records: &Records,
    bridge: &Link,
    port: u32,
    mac: &ChosenMac,
) -> Result<(), Error> {
    // One request cannot do both: a new entry must replace one that the bridge has learned, because any
    // pod can make the bridge learn any address, and it must replace no other entry.
    let _lock = records.lock()?;
    if let Some(owner) = owner(host, bridge, mac.address).await? {
        return Err(taken(mac, describe(owner)));
    }
    Ok(fdb::ensure_static(host, port, mac.address).await?)
}

/// Whether nothing on the bridge has the MAC address.
pub(crate) async fn is_free(host: &Netlink, bridge: &Link, mac: MacAddr) -> Result<bool, Error> {
    Ok(owner(host, bridge, mac).await?.is_none())
}

/// All MAC addresses that something on the bridge has.
pub(crate) async fn taken_macs(host: &Netlink, bridge: &Link) -> Result<HashSet<MacAddr>, Error> {
    let entries = fdb::list_fixed(host, bridge.index).await?;
    Ok(entries.into_iter().map(|entry| entry.mac).chain(bridge.mac).collect())
}

/// The bridge or its port that has the MAC address.
async fn owner(host: &Netlink, bridge: &Link, mac: MacAddr) -> Result<Option<Link>, Error> {
    if bridge.mac == Some(mac) {
        return Ok(Some(bridge.clone()));
    }
    match fdb::find_fixed(host, bridge.index, mac).await? {
        // A port that is deleted meanwhile takes its entry with it.
        Some(entry) => Ok(link::find_by_index(host, entry.link).await?),
        None => Ok(None),
    }
}

fn describe(owner: Link) -> String {
    match (owner.kind, owner.alias) {
        (Some(LinkKind::Bridge), _) => format!("bridge {}", owner.name),
        (_, Some(alias)) => format!("interface {} of {alias}", owner.name),
        (_, None) => format!("interface {}", owner.name),
    }
}

fn taken(mac: &ChosenMac, owner: String) -> Error {
    Error::MacTaken { mac: mac.address.to_string(), origin: mac.origin.to_string(), owner }
}
