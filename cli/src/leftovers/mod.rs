//! What kube-proxy and flannel have left on a node where Weir does their work.
//!
//! They are found by their marks: names of chains, tables, sets, links and files. Chains of the kubelet
//! are excluded, although their names are like those of kube-proxy.

mod chains;
mod leftover;
mod legacy;
mod nft;

use anyhow::{Context, Result};
use weir_netlink::{Netlink, link};

use crate::options::Place;
use crate::tool;

pub(crate) use self::chains::Owner;
pub(crate) use self::leftover::Leftover;

const FLANNEL_RUN: &str = "/run/flannel";
const FLANNEL_CONFLIST: &str = "10-flannel.conflist";

/// What was found, and what could not be inspected.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order in which they can be removed.
    pub(crate) leftovers: Vec<Leftover>,
    /// Why the list may be incomplete.
    pub(crate) notes: Vec<String>,
}

/// Finds everything that an owner has left.
pub(crate) async fn find(owner: Owner, place: &Place, netlink: &Netlink) -> Result<Found> {
    let mut found = Found::default();
    let chains = legacy::find(owner, &mut found.notes).await?;
    found.leftovers.extend(chains.into_iter().map(Leftover::Legacy));
    let nft::Found { chains, tables } = nft::find(owner, &mut found.notes).await?;
    found.leftovers.extend(chains.into_iter().map(Leftover::Nft));
    let table = |(family, name)| Leftover::NftTable { family, name };
    found.leftovers.extend(tables.into_iter().map(table));
    if owner == Owner::KubeProxy
        && let Some(sets) = tool::run("ipset", &["list", "-name"], "").await?
    {
        let ours = sets.lines().filter(|name| name.starts_with("KUBE-"));
        found.leftovers.extend(ours.map(|name| Leftover::Ipset(name.to_owned())));
    }
    for link in link::list(netlink).await? {
        if owner.has_link(&link.name) {
            found.leftovers.push(Leftover::Link(link.name));
        }
    }
    if owner == Owner::Flannel {
        for path in [place.cni_conf_dir.join(FLANNEL_CONFLIST), FLANNEL_RUN.into()] {
            if path.try_exists().with_context(|| format!("look at {}", path.display()))? {
                found.leftovers.push(Leftover::Path(path));
            }
        }
    }
    Ok(found)
}
