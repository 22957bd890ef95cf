//! Addresses of a link.

use std::net::IpAddr;

use futures_util::{Stream, StreamExt};
use ipnetwork::IpNetwork;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
        },
    },
};

use crate::{Error, Netlink};

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address with its subnet's prefix length.
    pub network: IpNetwork,
    /// Of global scope: neither link-local nor loopback.
    pub is_global: bool,
    /// IPv6: duplicate address detection has not ended, so it cannot be used yet (RFC 4862).
    pub is_tentative: bool,
}

/// Makes sure that the link has the address, usable at once: IPv6 addresses skip duplicate address
/// detection (`IFA_F_NODAD`), because whoever calls this owns the subnet's allocation.
pub async fn ensure(netlink: &Netlink, index: u32, network: IpNetwork) -> Result<(), Error> {
    let mut message = message(index, network);
    match network {
        IpNetwork::V4(v4) => {
            if v4.prefix() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
            }
        }
        IpNetwork::V6(_) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    netlink
        .execute(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("add address {network} to link number {index}")
        })
        .await
}

/// Removes the address. Returns whether it was there.
pub async fn delete(netlink: &Netlink, index: u32, network: IpNetwork) -> Result<bool, Error> {
    let outcome = netlink
        .execute(RouteNetlinkMessage::DelAddress(message(index, network)), 0, || {
            format!("delete address {network} of link number {index}")
        })
        .await;
    Error::absent_is_false(outcome)
}

/// The addresses of a link, both families.
pub async fn list(netlink: &Netlink, index: u32) -> Result<Vec<Address>, Error> {
    let mut addresses = dump(netlink, index).await?;
    addresses.retain(|address| address.link == index);
    Ok(addresses)
}

/// The addresses of all links, both families.
pub async fn list_all(netlink: &Netlink) -> Result<Vec<Address>, Error> {
    dump(netlink, 0).await
}

/// An item each time that addresses of any link come, change or go, from now on, and when that may have
/// been missed. Ends only with the socket.
pub fn changes(netlink: &Netlink) -> Result<impl Stream<Item = ()> + Unpin + Send + use<>, Error> {
    let messages = netlink
        .subscribe(&[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])
        .map_err(|cause| Error::new("subscribe to the kernel's notifications", cause))?;
    Ok(Box::pin(messages.map(|_| ())))
}

/// `index` 0 stands for all links.
async fn dump(netlink: &Netlink, index: u32) -> Result<Vec<Address>, Error> {
    let mut request = AddressMessage::default();
    request.header.index = index;
    let objects = netlink
        .dump(RouteNetlinkMessage::GetAddress(request), || {
            format!("list addresses of link number {index}")
        })
        .await?;
    let address = |object| match object {
        RouteNetlinkMessage::NewAddress(message) => read(&message),
        _ => None,
    };
    Ok(objects.into_iter().filter_map(address).collect())
}

fn message(index: u32, network: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = network.prefix();
    message.header.family = match network {
        IpNetwork::V4(_) => AddressFamily::Inet,
        IpNetwork::V6(_) => AddressFamily::Inet6,
    };
    message.attributes =
        vec![AddressAttribute::Local(network.ip()), AddressAttribute::Address(network.ip())];
    message
}

fn read(message: &AddressMessage) -> Option<Address> {
    // IPv4 has the address in LOCAL (ADDRESS is the peer's on point-to-point links), IPv6 has it
    // in ADDRESS.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    let ip: IpAddr = local.or(address)?;
    Some(Address {
        link: message.header.index,
        network: IpNetwork::new(ip, message.header.prefix_len).ok()?,
        is_global: message.header.scope == AddressScope::Universe,
        is_tentative: message.header.flags.contains(AddressHeaderFlags::Tentative),
    })
}
