//! Virtual Ethernet pairs whose peer is created in another network namespace.

use std::os::fd::{AsFd, AsRawFd};

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage},
    },
};

use crate::{Error, MacAddr, Netlink, Netns};

/// A pair to be created.
#[derive(Debug)]
pub struct VethSpec<'a> {
    /// Name of the host end, in the socket's namespace.
    pub name: &'a str,
    /// Bridge of which the host end becomes a port.
    pub controller: u32,
    /// MTU of both ends, in bytes.
    pub mtu: u32,
    /// Name of the peer.
    pub peer_name: &'a str,
    /// MAC address of the peer.
    pub peer_mac: MacAddr,
    /// Namespace in which the peer is created.
    pub peer_netns: &'a Netns,
}

/// Creates the pair in one request. Both ends are down, and the host end is a port of its bridge. The
/// peer is never visible in this namespace, so that no udev rule or daemon here can touch it.
///
/// A name that is taken, on either side, is an error ([`Error::is_already_there`]) that creates
/// nothing, and so is a bridge without a free port ([`Error::is_bridge_full`]).
pub async fn create(netlink: &Netlink, spec: &VethSpec<'_>) -> Result<(), Error> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(spec.peer_name.to_owned()),
        LinkAttribute::Address(spec.peer_mac.octets().to_vec()),
        LinkAttribute::Mtu(spec.mtu),
        LinkAttribute::NetNsFd(spec.peer_netns.as_fd().as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(spec.name.to_owned()),
        LinkAttribute::Mtu(spec.mtu),
        LinkAttribute::Controller(spec.controller),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    netlink
        .execute(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create veth {} with peer {}", spec.name, spec.peer_name)
        })
        .await
}
