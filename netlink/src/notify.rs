//! Notifications of changes to the kernel's network configuration, by any process.

mod change;
mod nftables;

use futures_util::{Stream, StreamExt};
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
        neighbour::{NeighbourMessage, NeighbourState},
        route::RouteMessage,
        tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption},
    },
};

pub use self::{
    change::{Change, Entry, Filter, SetElement},
    nftables::table_changes,
};
use crate::{Error, Netlink, fdb, neigh, route::Route};

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
        MulticastGroup::Tc,
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
            Message::NewRoute(route) => Some(of_route(route, false)),
            Message::DelRoute(route) => Some(of_route(route, true)),
            Message::NewNeighbour(entry) => of_neighbour(entry, false),
            Message::DelNeighbour(entry) => of_neighbour(entry, true),
            Message::NewTrafficFilter(filter) => of_filter(filter, false),
            Message::DelTrafficFilter(filter) => of_filter(filter, true),
            Message::DelQueueDiscipline(discipline) => of_discipline(discipline),
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

fn of_route(message: &RouteMessage, is_gone: bool) -> Change {
    let entry = Entry::new(Route::read(message), is_gone);
    Change::Route { protocol: message.header.protocol.into(), entry }
}

/// `None` for the copy of a bridge's entry for one VLAN.
fn of_neighbour(message: &NeighbourMessage, is_gone: bool) -> Option<Change> {
    let link = message.header.ifindex;
    let is_permanent = !is_gone && message.header.state == NeighbourState::Permanent;
    if message.header.family != AddressFamily::Bridge {
        let mac = is_permanent.then(|| neigh::mac(message)).flatten();
        return Some(Change::Neighbour { link, ip: neigh::ip(message), mac });
    }
    if fdb::is_of_bridge(message) {
        let (bridge, mac) = fdb::of_bridge(message)?;
        return Some(Change::BridgeEntry { bridge, mac, is_local: is_permanent });
    }
    Some(Change::Forwarding { link, entry: Entry::new(fdb::read(message), is_gone) })
}

fn of_filter(message: &TcMessage, is_gone: bool) -> Option<Change> {
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    let program = options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    });
    let [high, low, ..] = message.header.info.to_be_bytes();
    let filter = Filter { priority: u16::from_be_bytes([high, low]), program };
    Some(Change::Filter { link: link_of(message)?, entry: Entry::new(Some(filter), is_gone) })
}

/// Only the `clsact` discipline has filters for both directions.
fn of_discipline(message: &TcMessage) -> Option<Change> {
    let is_clsact =
        |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "clsact");
    let link = link_of(message)?;
    message.attributes.iter().any(is_clsact).then_some(Change::Filters { link })
}

fn link_of(message: &TcMessage) -> Option<u32> {
    u32::try_from(message.header.index).ok()
}
