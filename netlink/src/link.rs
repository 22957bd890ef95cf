//! Links of any kind: what they are, changing and deleting them.

use std::fmt;

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoKind, InfoPortData,
        InfoPortKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State,
    },
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, netdevice::index_to_name, socket},
};

use crate::{
    MacAddr, Netlink,
    error::{Cause, Error},
};

/// The kind of a virtual link; a physical one has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// An Ethernet bridge.
    Bridge,
    /// One end of a virtual Ethernet pair.
    Veth,
    /// A VXLAN tunnel (RFC 7348).
    Vxlan,
    /// Any other, by the kernel's name for it.
    Other(String),
}

impl LinkKind {
    pub(crate) const fn as_str(&self) -> &str {
        match self {
            Self::Bridge => "bridge",
            Self::Veth => "veth",
            Self::Vxlan => "vxlan",
            Self::Other(name) => name.as_str(),
        }
    }
}

impl From<&InfoKind> for LinkKind {
    fn from(kind: &InfoKind) -> Self {
        match kind {
            InfoKind::Bridge => Self::Bridge,
            InfoKind::Veth => Self::Veth,
            InfoKind::Vxlan => Self::Vxlan,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index, unique in its network namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Kind, for virtual links.
    pub kind: Option<LinkKind>,
    /// MAC address, for links that have an Ethernet one.
    pub mac: Option<MacAddr>,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub is_up: bool,
    /// Able to pass packets (`IF_OPER_UP`, RFC 2863; or unknown, which software links report).
    pub is_running: bool,
    /// Index of the bridge (or other controller) of which the link is a port.
    pub controller: Option<u32>,
    /// The text set by `ip link set alias`.
    pub alias: Option<String>,
    /// For a bridge port: whether a frame may leave by the port on which it arrived.
    pub hairpin: Option<bool>,
    /// For an end of a veth pair: the index of the peer in the peer's network namespace
    /// (`IFLA_LINK`, which links of other kinds use for the link below them).
    pub peer: Option<u32>,
    /// For a link whose peer is in another network namespace: the ID of that namespace in this one
    /// (`IFLA_LINK_NETNSID`).
    pub peer_netns: Option<u32>,
}

impl Link {
    pub(crate) fn read(message: LinkMessage) -> Result<Self, Cause> {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            is_up: message.header.flags.contains(LinkFlags::Up),
            is_running: false,
            controller: None,
            alias: None,
            hairpin: None,
            peer: None,
            peer_netns: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(octets) => link.mac = octets.as_slice().try_into().ok(),
                LinkAttribute::OperState(state) => {
                    link.is_running = matches!(state, State::Up | State::Unknown);
                }
                LinkAttribute::Controller(index) => link.controller = Some(index),
                // 0: the peer is gone.
                LinkAttribute::Link(index) => link.peer = Some(index).filter(|index| *index != 0),
                // -1: the namespace has no ID.
                LinkAttribute::LinkNetNsId(number) => link.peer_netns = number.try_into().ok(),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::LinkInfo(infos) => link.read_infos(&infos),
                _ => {}
            }
        }
        if link.name.is_empty() { Err(Cause::Malformed("a link's name")) } else { Ok(link) }
    }

    fn read_infos(&mut self, infos: &[LinkInfo]) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.into()),
                LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                    self.hairpin = port.iter().find_map(|attribute| match attribute {
                        InfoBridgePort::HairpinMode(on) => Some(*on),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
    }

    pub(crate) fn expect_kind(self, wanted: &LinkKind) -> Result<Self, Error> {
        if self.kind.as_ref() == Some(wanted) {
            return Ok(self);
        }
        let found = self.kind.as_ref().map_or_else(|| "physical".to_owned(), LinkKind::to_string);
        // The kinds that are wanted have static names.
        let wanted = match wanted {
            LinkKind::Bridge => "bridge",
            LinkKind::Veth => "veth",
            LinkKind::Vxlan => "vxlan",
            LinkKind::Other(_) => "matching",
        };
        Err(Error::new(format!("use link {}", self.name), Cause::OtherKind { wanted, found }))
    }
}

/// The link of this name, or `None`.
///
/// On kernels since 6.9 this returns after a pending carrier change of the link has taken effect,
/// so a link that is reported as running passes packets.
pub async fn find(netlink: &Netlink, name: &str) -> Result<Option<Link>, Error> {
    let found = find_message(netlink, name).await?.map(Link::read).transpose();
    found.map_err(|cause| Error::new(format!("look up link {name}"), cause))
}

/// The link with this index, or `None`.
pub async fn find_by_index(netlink: &Netlink, index: u32) -> Result<Option<Link>, Error> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    let step = || format!("look up link number {index}");
    let found = get(netlink, request, step).await?.map(Link::read).transpose();
    found.map_err(|cause| Error::new(step(), cause))
}

/// Whether there is a link with this index now, in the network namespace of the calling thread. If the
/// kernel does not tell, there may be one.
pub fn exists(index: u32) -> bool {
    let ask = || index_to_name(socket(AddressFamily::INET, SocketType::DGRAM, None)?, index);
    !matches!(ask(), Err(Errno::NODEV))
}

/// The message about the link of this name.
pub(crate) async fn find_message(
    netlink: &Netlink,
    name: &str,
) -> Result<Option<LinkMessage>, Error> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::IfName(name.to_owned()));
    get(netlink, request, || format!("look up link {name}")).await
}

async fn get(
    netlink: &Netlink,
    mut request: LinkMessage,
    step: impl Fn() -> String,
) -> Result<Option<LinkMessage>, Error> {
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match netlink.get(RouteNetlinkMessage::GetLink(request), &step).await {
        Ok(RouteNetlinkMessage::NewLink(message)) => Ok(Some(message)),
        Ok(_) => Err(Error::new(step(), Cause::Malformed("a link"))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All links of the namespace.
pub async fn list(netlink: &Netlink) -> Result<Vec<Link>, Error> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    collect(netlink, request, "list links").await
}

/// The ports of a bridge (or other controller).
pub async fn list_ports(netlink: &Netlink, controller: u32) -> Result<Vec<Link>, Error> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::Controller(controller));
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut ports = collect(netlink, request, "list bridge ports").await?;
    ports.retain(|port| port.controller == Some(controller));
    Ok(ports)
}

async fn collect(
    netlink: &Netlink,
    request: LinkMessage,
    step: &'static str,
) -> Result<Vec<Link>, Error> {
    let objects = netlink.dump(RouteNetlinkMessage::GetLink(request), || step.to_owned()).await?;
    objects
        .into_iter()
        .filter_map(|object| match object {
            RouteNetlinkMessage::NewLink(message) => Some(Link::read(message)),
            _ => None,
        })
        .collect::<Result<_, _>>()
        .map_err(|cause| Error::new(step, cause))
}

/// Changes to a link; `None` leaves a property as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Up or down.
    pub up: Option<bool>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// Alias, at most 255 bytes.
    pub alias: Option<String>,
    /// Index of the bridge of which the link becomes a port.
    pub controller: Option<u32>,
    /// Hairpin mode, for a link that is already a bridge port.
    pub hairpin: Option<bool>,
    /// Whether the bridge learns addresses from what comes in by the link, for one that is already a
    /// bridge port.
    pub learning: Option<bool>,
    /// Whether the link generates an IPv6 link-local address when it gets its carrier. A bridge
    /// port needs none.
    pub link_local: Option<bool>,
}

/// Applies changes in one request. A property that already has the value is not an error.
pub async fn change(netlink: &Netlink, index: u32, change: &LinkChange) -> Result<(), Error> {
    let LinkChange { up, mtu, mac, alias, controller, hairpin, learning, link_local } = change;
    let mut message = LinkMessage::default();
    message.header.index = index;
    if let Some(up) = up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if *up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    let attributes = &mut message.attributes;
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    attributes.extend(alias.clone().map(LinkAttribute::IfAlias));
    attributes.extend(controller.map(LinkAttribute::Controller));
    let hairpin = hairpin.map(InfoBridgePort::HairpinMode);
    let port: Vec<_> = hairpin.into_iter().chain(learning.map(InfoBridgePort::Learning)).collect();
    if !port.is_empty() {
        attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(port)),
        ]));
    }
    if let Some(link_local) = link_local {
        let mode = if *link_local { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None };
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]);
        attributes.push(LinkAttribute::AfSpecUnspec(vec![inet6]));
    }
    netlink
        .execute(RouteNetlinkMessage::NewLink(message), 0, || format!("change link number {index}"))
        .await
}

/// Deletes the link of this name (and with a veth its peer). Returns whether it was there.
///
/// Returns after the kernel has freed the memory of the link; [`delete_unwaited`] does not wait for that.
///
/// [`delete_unwaited`]: crate::removal::delete_unwaited
pub async fn delete(netlink: &Netlink, name: &str) -> Result<bool, Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let outcome = netlink
        .execute(RouteNetlinkMessage::DelLink(message), 0, || format!("delete link {name}"))
        .await;
    Error::absent_is_false(outcome)
}

/// Waits until a link that is up also passes packets, and returns it.
///
/// A carrier takes effect in the background. Kernels since 6.9 make [`find`] wait for that; on
/// older kernels this waits for the notification of the link.
pub async fn wait_until_running(netlink: &Netlink, name: &str) -> Result<Link, Error> {
    let step = || format!("wait until link {name} passes packets");
    let gone = || Error::new(step(), Errno::NODEV);
    let link = find(netlink, name).await?.ok_or_else(gone)?;
    if link.is_running {
        return Ok(link);
    }
    let running = async || Ok(find(netlink, name).await?.filter(|link| link.is_running));
    let changes = netlink.link_changes(|_| true).map_err(|cause| Error::new(step(), cause))?;
    netlink.wait_for_change(changes, step, running).await
}
