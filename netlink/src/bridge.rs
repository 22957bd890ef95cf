//! Ethernet bridges.

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    },
};

use crate::{
    Error, Link, LinkKind, MacAddr, Netlink,
    error::Cause,
    link::{self, LinkChange},
};

/// How a bridge is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Interface name.
    pub name: String,
    /// MAC address. An explicit one stays; without one a bridge takes the lowest of its
    /// ports' and changes it as they come and go, which breaks every neighbour entry for it.
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
}

/// Makes sure that the bridge is there and up, and returns it.
///
/// Callers may race: all of them get the bridge that one of them created. An existing bridge keeps
/// its MAC address and MTU. A link of that name and of another kind is an error
/// ([`Error::is_other_kind`]) and stays as it is.
pub async fn ensure(netlink: &Netlink, spec: &BridgeSpec) -> Result<Link, Error> {
    if let Some(found) = link::find(netlink, &spec.name).await? {
        return use_existing(netlink, found).await;
    }
    match create(netlink, spec).await {
        Err(error) if !error.is_already_there() => return Err(error),
        _ => {}
    }
    match link::find(netlink, &spec.name).await? {
        Some(found) => use_existing(netlink, found).await,
        None => Err(Error::new(format!("create bridge {}", spec.name), Cause::Malformed("it"))),
    }
}

async fn use_existing(netlink: &Netlink, found: Link) -> Result<Link, Error> {
    let mut bridge = found.expect_kind(&LinkKind::Bridge)?;
    if !bridge.is_up {
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        link::change(netlink, bridge.index, &up).await?;
        bridge.is_up = true;
    }
    Ok(bridge)
}

async fn create(netlink: &Netlink, spec: &BridgeSpec) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName(spec.name.clone()),
        LinkAttribute::Address(spec.mac.octets().to_vec()),
        LinkAttribute::Mtu(spec.mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    netlink
        .execute(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create bridge {}", spec.name)
        })
        .await
}
