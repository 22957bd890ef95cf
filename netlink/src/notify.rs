//! What the kernel tells about changes of its network configuration, by whomever they were made.

mod nftables;

use futures_util::{Stream, StreamExt};
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
        neighbour::NeighbourMessage,
        route::RouteMessage,
    },
};

pub use self::nftables::table_changes;
use crate::{Error, Netlink};

/// A change. It says where to look, not what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// A link was created, changed or deleted.
    Link {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// An address of a link came or went.
    Address {
        /// Index of the link.
        link: u32,
    },
    /// A route came, changed or went.
    Route {
        /// Its routing protocol number.
        protocol: u8,
    },
    /// A neighbour or forwarding entry came, changed or went.
    Neighbour {
        /// Index of the link.
        link: u32,
    },
    /// The nftables table that was asked about, or something in it, came, changed or went.
    Table,
    /// Some notifications were lost because they came faster than they were read: anything may
    /// have changed.
    Lost,
}

/// All changes in the namespace from now on.
pub fn changes(
    netlink: &Netlink,
) -> Result<impl Stream<Item = Change> + Unpin + Send + use<>, Error> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let messages = netlink
        .subscribe(&groups)
        .map_err(|cause| Error::new("subscribe to the kernel's notifications", cause))?;
    Ok(Box::pin(messages.filter_map(|payload| std::future::ready(read(&payload)))))
}

fn read(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    use RouteNetlinkMessage as Message;
    match payload {
        NetlinkPayload::Overrun(_) => Some(Change::Lost),
        NetlinkPayload::InnerMessage(message) => match message {
            Message::NewLink(link) | Message::DelLink(link) => Some(of_link(link)),
            Message::NewAddress(address) | Message::DelAddress(address) => {
                Some(Change::Address { link: address.header.index })
            }
            Message::NewRoute(route) | Message::DelRoute(route) => Some(of_route(route)),
            Message::NewNeighbour(entry) | Message::DelNeighbour(entry) => Some(of_entry(entry)),
            _ => None,
        },
        _ => None,
    }
}

fn of_link(link: &LinkMessage) -> Change {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    Change::Link { index: link.header.index, name: name.unwrap_or_default() }
}

fn of_route(route: &RouteMessage) -> Change {
    Change::Route { protocol: route.header.protocol.into() }
}

fn of_entry(entry: &NeighbourMessage) -> Change {
    Change::Neighbour { link: entry.header.ifindex }
}
