//! Whether the pods' bridge is one that Weir may use.

use std::net::IpAddr;

use weir_netlink::{Error, LinkKind, Netlink, address, link};

/// Why a device cannot be the pods' bridge. Weir would take its addresses away, and give it those of the pods'
/// gateways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BridgeUnusable {
    /// It is a device of another kind.
    #[error(
        "--bridge (WEIR_BRIDGE) names {0}, which is no bridge: choose a name that no other device has"
    )]
    NoBridge(String),
    /// It has an address of the node.
    #[error(
        "--bridge (WEIR_BRIDGE) names {0}, which has the node's address {1}: choose a name that no other \
         device has"
    )]
    OfNode(String, IpAddr),
}

/// Looks at the device with the bridge's name, if there is one. `node` are the node's own addresses.
pub(super) async fn check(
    netlink: &Netlink,
    bridge: &str,
    node: &[IpAddr],
) -> Result<Result<(), BridgeUnusable>, Error> {
    let Some(found) = link::find(netlink, bridge).await? else { return Ok(Ok(())) };
    if found.kind != Some(LinkKind::Bridge) {
        return Ok(Err(BridgeUnusable::NoBridge(found.name)));
    }
    let addresses = address::list(netlink, found.index).await?;
    let of_node = addresses.iter().map(|held| held.network.ip()).find(|ip| node.contains(ip));
    Ok(of_node.map_or(Ok(()), |ip| Err(BridgeUnusable::OfNode(found.name, ip))))
}
