//! VXLAN tunnel devices (RFC 7348) without learning: the caller sets their entries.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    },
};

use crate::{Error, Link, LinkKind, MacAddr, Netlink, link};

/// A tunnel device to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanSpec {
    /// Interface name.
    pub name: String,
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// UDP destination port (4789 by IANA; flannel and Linux' default use 8472).
    pub port: u16,
    /// Source address of the tunnel's packets.
    pub local: IpAddr,
    /// Index of the link that the tunnel's packets leave by.
    pub underlay: u32,
    /// MAC address; setting it at creation keeps udev and systemd-networkd from choosing one.
    pub mac: MacAddr,
    /// MTU in bytes: the underlay's less 50 (IPv4) or 70 (IPv6).
    pub mtu: u32,
}

/// Creates the device, up and without learning. A name that is taken, or the same VNI and port on
/// another device, is an error ([`Error::is_already_there`]).
pub async fn create(netlink: &Netlink, spec: &VxlanSpec) -> Result<(), Error> {
    let local = match spec.local {
        IpAddr::V4(local) => InfoVxlan::Local(local),
        IpAddr::V6(local) => InfoVxlan::Local6(local),
    };
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName(spec.name.clone()),
        LinkAttribute::Address(spec.mac.octets().to_vec()),
        LinkAttribute::Mtu(spec.mtu),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vec![
                InfoVxlan::Id(spec.vni),
                InfoVxlan::Port(spec.port),
                local,
                InfoVxlan::Link(spec.underlay),
                InfoVxlan::Learning(false),
            ])),
        ]),
    ];
    netlink
        .execute(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create vxlan device {}", spec.name)
        })
        .await
}

/// A tunnel device as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// The properties of any link.
    pub link: Link,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// UDP destination port.
    pub port: Option<u16>,
    /// Source address of the tunnel's packets.
    pub local: Option<IpAddr>,
    /// Index of the link that the tunnel's packets leave by.
    pub underlay: Option<u32>,
    /// Whether the device learns remotes from the packets that it receives.
    pub learning: bool,
}

/// The tunnel device of this name, or `None`. A link of that name and of another kind is an error
/// ([`Error::is_other_kind`]).
pub async fn find(netlink: &Netlink, name: &str) -> Result<Option<Vxlan>, Error> {
    let Some(message) = link::find_message(netlink, name).await? else { return Ok(None) };
    let data = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => Some(data.clone()),
            _ => None,
        }),
        _ => None,
    });
    let link = Link::read(message)
        .map_err(|cause| Error::new(format!("look up link {name}"), cause))?
        .expect_kind(&LinkKind::Vxlan)?;
    let mut found =
        Vxlan { link, vni: None, port: None, local: None, underlay: None, learning: false };
    for attribute in data.unwrap_or_default() {
        match attribute {
            InfoVxlan::Id(vni) => found.vni = Some(vni),
            InfoVxlan::Port(port) => found.port = Some(port),
            InfoVxlan::Local(ip) => found.local = Some(ip.into()),
            InfoVxlan::Local6(ip) => found.local = Some(ip.into()),
            InfoVxlan::Link(index) => found.underlay = Some(index),
            InfoVxlan::Learning(learning) => found.learning = learning,
            _ => {}
        }
    }
    Ok(Some(found))
}
