//! Forwarding database entries: which bridge port a MAC address is behind, and which VTEP
//! a VXLAN device sends it to.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
    },
};

use crate::{Error, MacAddr, Netlink, error::Cause, neigh::link_layer_address};

/// An entry of a VXLAN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TunnelEntry {
    /// Index of the VXLAN device.
    pub link: u32,
    /// MAC address of the remote VTEP's device.
    pub mac: MacAddr,
    /// Underlay address of the remote VTEP.
    pub remote: IpAddr,
}

/// An entry of a bridge that does not age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BridgeEntry {
    /// The MAC address.
    pub mac: MacAddr,
    /// Index of the port that it is behind; for the bridge's own address, that of the bridge.
    pub link: u32,
    /// Whether frames for it are delivered to the host. The kernel makes such an entry for the bridge's
    /// own MAC address and for that of each port.
    pub is_local: bool,
    /// Whether it stays when another port sends from the address.
    pub is_sticky: bool,
}

/// Makes sure that a bridge always sends frames for `mac` to this port. `static` keeps the entry
/// from ageing out. `sticky` keeps it from moving to another port that sends with this address
/// (kernel 4.20; `bridge fdb replace MAC dev PORT master static sticky`). The kernel removes the
/// entry with the port.
pub async fn ensure_static(netlink: &Netlink, port: u32, mac: MacAddr) -> Result<(), Error> {
    let flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    let mut message = message(port, mac, flags);
    message.header.state = NeighbourState::Noarp;
    netlink
        .execute(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("set static FDB entry {mac} on bridge port number {port}")
        })
        .await
}

/// Makes sure that a bridge delivers frames for its own MAC address to the host, wherever another entry
/// sent them (`bridge fdb replace MAC dev BRIDGE self permanent`). The kernel makes this entry once, and
/// an entry of a port that replaces it does not bring it back when the port is gone.
pub async fn ensure_own(netlink: &Netlink, bridge: u32, mac: MacAddr) -> Result<(), Error> {
    let mut message = message(bridge, mac, NeighbourFlags::Own);
    message.header.state = NeighbourState::Permanent;
    netlink
        .execute(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("set the FDB entry {mac} of bridge number {bridge} itself")
        })
        .await
}

/// The fixed entry of a bridge for `mac`; `None` if the bridge has learned the address or does not know
/// it (kernel 5.0).
pub async fn find_fixed(
    netlink: &Netlink,
    bridge: u32,
    mac: MacAddr,
) -> Result<Option<BridgeEntry>, Error> {
    let mut request = message(0, mac, NeighbourFlags::empty());
    request.attributes.push(NeighbourAttribute::Controller(bridge));
    let step = || format!("look up FDB entry {mac} of bridge number {bridge}");
    match netlink.get(RouteNetlinkMessage::GetNeighbour(request), step).await {
        Ok(RouteNetlinkMessage::NewNeighbour(message)) => Ok(read_fixed(&message, bridge)),
        Ok(_) => Err(Error::new(step(), Cause::Malformed("an FDB entry"))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fixed entries of a bridge.
pub async fn list_fixed(netlink: &Netlink, bridge: u32) -> Result<Vec<BridgeEntry>, Error> {
    let entries = dump(netlink, &[NeighbourAttribute::Controller(bridge)]).await?;
    Ok(entries.iter().filter_map(|message| read_fixed(message, bridge)).collect())
}

/// The bridge of an entry and its MAC address, if it is an entry of a bridge that is for all VLANs.
pub(crate) fn of_bridge(message: &NeighbourMessage) -> Option<(u32, MacAddr)> {
    // A kernel with VLANs on bridges has a copy of each entry for each VLAN of the port.
    let is_of_vlan = |attribute: &NeighbourAttribute| matches!(attribute, NeighbourAttribute::Vlan(vlan) if *vlan != 0);
    if message.attributes.iter().any(is_of_vlan) {
        return None;
    }
    Some((controller(message)?, message.attributes.iter().find_map(link_layer_address)?))
}

/// Whether it is an entry of a bridge, and not of a tunnel or of a device's own filter.
pub(crate) fn is_of_bridge(message: &NeighbourMessage) -> bool {
    controller(message).is_some()
}

fn controller(message: &NeighbourMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Controller(bridge) => Some(*bridge),
        _ => None,
    })
}

fn read_fixed(message: &NeighbourMessage, bridge: u32) -> Option<BridgeEntry> {
    let (_, mac) = of_bridge(message).filter(|(found, _)| *found == bridge)?;
    let is_local = match message.header.state {
        NeighbourState::Permanent => true,
        NeighbourState::Noarp => false,
        _ => return None,
    };
    let is_sticky = message.header.flags.contains(NeighbourFlags::Sticky);
    Some(BridgeEntry { mac, link: message.header.ifindex, is_local, is_sticky })
}

/// Makes sure that a VXLAN device sends frames for `mac` to `remote` and nowhere else.
pub async fn ensure_remote(netlink: &Netlink, entry: &TunnelEntry) -> Result<(), Error> {
    let TunnelEntry { link, mac, remote } = entry;
    let mut message = message(*link, *mac, NeighbourFlags::Own);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(destination(*remote)));
    netlink
        .execute(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("send {mac} to {remote} by tunnel link number {link}")
        })
        .await
}

/// Deletes an entry of a VXLAN device. Returns whether it was there.
pub async fn delete_remote(netlink: &Netlink, entry: &TunnelEntry) -> Result<bool, Error> {
    let TunnelEntry { link, mac, remote } = entry;
    let mut message = message(*link, *mac, NeighbourFlags::Own);
    message.attributes.push(NeighbourAttribute::Destination(destination(*remote)));
    let outcome = netlink
        .execute(RouteNetlinkMessage::DelNeighbour(message), 0, || {
            format!("delete FDB entry {mac} of tunnel link number {link}")
        })
        .await;
    Error::absent_is_false(outcome)
}

/// The entries of a VXLAN device that name a remote.
pub async fn list_remote(netlink: &Netlink, link: u32) -> Result<Vec<TunnelEntry>, Error> {
    let entries = dump(netlink, &[]).await?;
    let of_link = entries.iter().filter(|message| message.header.ifindex == link);
    Ok(of_link.filter_map(read).collect())
}

/// The entry, if it names a remote.
pub(crate) fn read(message: &NeighbourMessage) -> Option<TunnelEntry> {
    let mac = message.attributes.iter().find_map(link_layer_address)?;
    let remote = message.attributes.iter().find_map(remote)?;
    Some(TunnelEntry { link: message.header.ifindex, mac, remote })
}

async fn dump(
    netlink: &Netlink,
    filter: &[NeighbourAttribute],
) -> Result<Vec<NeighbourMessage>, Error> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
    request.attributes = filter.to_vec();
    let objects = netlink
        .dump(RouteNetlinkMessage::GetNeighbour(request), || "list FDB entries".to_owned())
        .await?;
    let message = |object| match object {
        RouteNetlinkMessage::NewNeighbour(message) => Some(message),
        _ => None,
    };
    Ok(objects.into_iter().filter_map(message).collect())
}

fn message(link: u32, mac: MacAddr, flags: NeighbourFlags) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    message.header.flags = flags;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec())];
    message
}

const fn destination(remote: IpAddr) -> NeighbourAddress {
    match remote {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    }
}

fn remote(attribute: &NeighbourAttribute) -> Option<IpAddr> {
    match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        // The packet crate parses the destination by the message's family, which is bridge here.
        NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => {
            if let Ok(v4) = <[u8; 4]>::try_from(octets.as_slice()) {
                return Some(IpAddr::from(v4));
            }
            <[u8; 16]>::try_from(octets.as_slice()).ok().map(IpAddr::from)
        }
        _ => None,
    }
}
