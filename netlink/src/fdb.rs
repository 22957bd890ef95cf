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

use crate::{Error, MacAddr, Netlink, neigh::link_layer_address};

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

/// The static entries of a bridge port.
pub async fn list_static(netlink: &Netlink, port: u32) -> Result<Vec<MacAddr>, Error> {
    let of_port = |message: &NeighbourMessage| {
        let is_static = message.header.state == NeighbourState::Noarp;
        (message.header.ifindex == port && is_static)
            .then(|| message.attributes.iter().find_map(link_layer_address))
            .flatten()
    };
    Ok(dump(netlink).await?.iter().filter_map(of_port).collect())
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
    let entries = dump(netlink).await?;
    let of_link = entries.iter().filter(|message| message.header.ifindex == link);
    Ok(of_link.filter_map(read).collect())
}

/// The entry, if it names a remote.
pub(crate) fn read(message: &NeighbourMessage) -> Option<TunnelEntry> {
    let mac = message.attributes.iter().find_map(link_layer_address)?;
    let remote = message.attributes.iter().find_map(remote)?;
    Some(TunnelEntry { link: message.header.ifindex, mac, remote })
}

async fn dump(netlink: &Netlink) -> Result<Vec<NeighbourMessage>, Error> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
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
