//! Neighbour entries (ARP, IPv6 neighbour discovery) that are set, not learned.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    },
};

use crate::{Error, MacAddr, Netlink};

/// A neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Index of the link on which the neighbour is reached.
    pub link: u32,
    /// The neighbour's address.
    pub ip: IpAddr,
    /// Its MAC address.
    pub mac: MacAddr,
}

/// Makes sure that the entry is there, permanent and with this MAC address.
pub async fn ensure(netlink: &Netlink, neighbour: &Neighbour) -> Result<(), Error> {
    let Neighbour { link, ip, mac } = neighbour;
    let mut message = message(*link, *ip);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    netlink
        .execute(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("set neighbour {ip} to {mac} on link number {link}")
        })
        .await
}

/// Deletes the entry for an address, whatever its state. Returns whether it was there.
pub async fn delete(netlink: &Netlink, link: u32, ip: IpAddr) -> Result<bool, Error> {
    let outcome = netlink
        .execute(RouteNetlinkMessage::DelNeighbour(message(link, ip)), 0, || {
            format!("delete neighbour {ip} of link number {link}")
        })
        .await;
    Error::absent_is_false(outcome)
}

/// The permanent entries of a link, both families.
pub async fn list_permanent(netlink: &Netlink, link: u32) -> Result<Vec<Neighbour>, Error> {
    let mut request = NeighbourMessage::default();
    request.attributes.push(NeighbourAttribute::IfIndex(link));
    let objects = netlink
        .dump(RouteNetlinkMessage::GetNeighbour(request), || {
            format!("list neighbours of link number {link}")
        })
        .await?;
    let permanent = |object: &RouteNetlinkMessage| match object {
        RouteNetlinkMessage::NewNeighbour(message)
            if message.header.ifindex == link
                && message.header.state == NeighbourState::Permanent =>
        {
            read(message)
        }
        _ => None,
    };
    Ok(objects.iter().filter_map(permanent).collect())
}

fn message(link: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = link;
    let (family, destination) = match ip {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.attributes = vec![NeighbourAttribute::Destination(destination)];
    message
}

fn read(message: &NeighbourMessage) -> Option<Neighbour> {
    Some(Neighbour { link: message.header.ifindex, ip: ip(message)?, mac: mac(message)? })
}

pub(crate) fn ip(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

/// Without one it is not resolved.
pub(crate) fn mac(message: &NeighbourMessage) -> Option<MacAddr> {
    message.attributes.iter().find_map(link_layer_address)
}

pub(crate) fn link_layer_address(attribute: &NeighbourAttribute) -> Option<MacAddr> {
    match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok(),
        _ => None,
    }
}
