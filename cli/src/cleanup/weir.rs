//! Weir's objects, found by their marks: names of links, the protocol number of routes, the name of the
//! nftables table, paths.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nftables::{
    batch::Batch,
    helper,
    schema::{NfListObject, NfObject, Table},
    types::NfFamily,
};
use serde::Serialize;
use weir_datapath::Hook;
use weir_netlink::{
    Link, LinkKind, Netlink, link,
    route::{self, Route, TABLE_MAIN},
};
use weir_node::names::{
    CONFLIST, HOST_INTERFACE_PREFIX, NETWORK, NFTABLES_TABLE, PLUGIN, ROUTE_PROTOCOL, TUNNEL_PREFIX,
};

use crate::options::Place;

/// An object of Weir's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub(super) enum Item {
    /// The CNI configuration goes first: without it the runtime starts no pods.
    File(PathBuf),
    Directory(PathBuf),
    Route(String),
    /// The programs at a link that is not Weir's, by the name of the link.
    Programs(String),
    Link(String),
    Table(String),
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Directory(path) => write!(f, "directory {}", path.display()),
            Self::Route(to) => write!(f, "route to {to}"),
            Self::Programs(link) => write!(f, "eBPF programs at {link}"),
            Self::Link(name) => write!(f, "link {name}"),
            Self::Table(name) => write!(f, "nftables table {name}"),
        }
    }
}

/// All objects of Weir's, in the order of removal.
pub(super) async fn find(place: &Place, netlink: &Netlink) -> Result<Vec<Item>> {
    let Place { bridge, cni_bin_dir, cni_conf_dir, run_dir, data_dir, pin_dir } = place;
    let mut items = Vec::new();
    for path in [cni_conf_dir.join(CONFLIST), cni_bin_dir.join(PLUGIN)] {
        items.extend(exists(&path)?.then_some(Item::File(path)));
    }
    let routes = route::list(netlink, TABLE_MAIN).await?;
    let ours = routes.into_iter().filter(|route| route.protocol == ROUTE_PROTOCOL);
    items.extend(ours.map(|route| Item::Route(route.destination.to_string())));
    let links = link::list(netlink).await?;
    let own_links: Vec<_> = links_of(bridge, &links).collect();
    for link in links.iter().filter(|link| !own_links.contains(&link.name)) {
        items.extend(has_programs(link.index)?.then(|| Item::Programs(link.name.clone())));
    }
    items.extend(own_links.into_iter().map(Item::Link));
    items.extend(table_exists()?.then(|| Item::Table(NFTABLES_TABLE.to_owned())));
    for path in [run_dir.clone(), data_dir.join(NETWORK), pin_dir.clone()] {
        items.extend(exists(&path)?.then_some(Item::Directory(path)));
    }
    Ok(items)
}

/// Weir's links: ports before their bridge.
fn links_of(bridge: &str, links: &[Link]) -> impl Iterator<Item = String> {
    let bridge =
        links.iter().find(|link| link.name == bridge && link.kind == Some(LinkKind::Bridge));
    let is_port = |link: &&Link| {
        link.kind == Some(LinkKind::Veth)
            && link.controller.is_some()
            && link.controller == bridge.map(|bridge| bridge.index)
            && link.name.starts_with(HOST_INTERFACE_PREFIX)
    };
    let is_tunnel =
        |link: &&Link| link.kind == Some(LinkKind::Vxlan) && link.name.starts_with(TUNNEL_PREFIX);
    let ports = links.iter().filter(is_port);
    let tunnels = links.iter().filter(is_tunnel);
    let found: Vec<_> = ports.chain(tunnels).chain(bridge).map(|link| link.name.clone()).collect();
    found.into_iter()
}

/// Whether a link has programs of Weir's. Those at Weir's own links are removed with the links.
fn has_programs(index: u32) -> Result<bool> {
    for hook in Hook::ALL {
        if weir_datapath::list(index, hook)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("look at {}", path.display()))
}

fn table_exists() -> Result<bool> {
    let listing =
        match helper::get_current_ruleset_with_args(helper::DEFAULT_NFT, ["list", "tables"]) {
            Ok(listing) => listing,
            // Without the program, the agent has not made a table.
            Err(helper::NftablesError::NftExecution { inner, .. })
                if inner.kind() == ErrorKind::NotFound =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error).context("list nftables tables"),
        };
    Ok(listing.objects.iter().any(|object| {
        matches!(
            object,
            NfObject::ListObject(NfListObject::Table(table))
                if table.family == NfFamily::INet && table.name == NFTABLES_TABLE
        )
    }))
}

/// Removes an object.
pub(super) async fn remove(item: &Item, netlink: &Netlink) -> Result<()> {
    match item {
        Item::File(path) => fs::remove_file(path)?,
        Item::Directory(path) => fs::remove_dir_all(path)?,
        Item::Link(name) => {
            link::delete(netlink, name).await?;
        }
        Item::Route(to) => remove_route(netlink, to).await?,
        Item::Programs(name) => {
            if let Some(link) = link::find(netlink, name).await? {
                for hook in Hook::ALL {
                    weir_datapath::detach(link.index, hook)?;
                }
            }
        }
        Item::Table(name) => {
            let mut batch = Batch::new();
            let table = Table { family: NfFamily::INet, name: name.into(), handle: None };
            batch.delete(NfListObject::Table(table));
            helper::apply_ruleset(&batch.to_nftables())?;
        }
    }
    Ok(())
}

async fn remove_route(netlink: &Netlink, to: &str) -> Result<()> {
    for found in route::list(netlink, TABLE_MAIN).await? {
        if found.protocol == ROUTE_PROTOCOL && found.destination.to_string() == to {
            // Only the identifying attributes: those that the kernel adds would not match.
            let plain = Route::new(found.destination, found.gateway, found.link);
            route::delete(netlink, &Route { protocol: ROUTE_PROTOCOL, ..plain }).await?;
        }
    }
    Ok(())
}
