//! What kube-proxy and flannel have left on a node where Weir does their work.
//!
//! Found by their marks, as Weir's own things are: names of chains, tables, sets, links and files.
//! What belongs to the kubelet is none of it, though its chains have names like kube-proxy's.

mod chains;
mod legacy;
mod nft;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use weir_netlink::{Netlink, link};

use crate::options::Place;
use crate::tool;

pub(crate) use chains::Owner;

/// Something that its owner has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// Chains of a table of iptables-legacy, with the rules that lead to them.
    Legacy(legacy::Chains),
    /// Chains of a table of nftables, such as those that iptables-nft makes, likewise.
    Nft(nft::Chains),
    /// A whole table.
    NftTable {
        /// Its family.
        family: String,
        /// Its name.
        name: String,
    },
    /// A set of `ipset`.
    Ipset(String),
    /// A link.
    Link(String),
    /// A file, or a directory with all that is in it.
    Path(PathBuf),
}

/// Where to find them, apart from the kernel.
const FLANNEL_RUN: &str = "/run/flannel";
const FLANNEL_CONFLIST: &str = "10-flannel.conflist";

/// What was found, and where nobody could look.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order in which they can be removed.
    pub(crate) leftovers: Vec<Leftover>,
    /// Why something may be missing in the list.
    pub(crate) notes: Vec<String>,
}

/// Finds everything that an owner has left.
pub(crate) async fn find(owner: Owner, place: &Place, netlink: &Netlink) -> Result<Found> {
    let mut found = Found::default();
    legacy::find(owner, &mut found).await?;
    nft::find(owner, &mut found).await?;
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

impl Leftover {
    /// Takes it away.
    pub(crate) async fn remove(&self, netlink: &Netlink) -> Result<()> {
        match self {
            Self::Legacy(chains) => chains.remove().await,
            Self::Nft(chains) => nft::apply(&chains.script).await,
            Self::NftTable { family, name } => {
                nft::apply(&format!("delete table {family} {name}\n")).await
            }
            Self::Ipset(name) => {
                tool::run("ipset", &["destroy", name], "").await?.context("there is no ipset")?;
                Ok(())
            }
            Self::Link(name) => {
                link::delete(netlink, name).await?;
                Ok(())
            }
            Self::Path(path) => remove_path(path),
        }
    }

    /// What kind of thing it is, for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Legacy(_) => "iptables_chains",
            Self::Nft(_) => "nftables_chains",
            Self::NftTable { .. } => "nftables_table",
            Self::Ipset(_) => "ipset",
            Self::Link(_) => "link",
            Self::Path(_) => "path",
        }
    }
}

fn remove_path(path: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        kind => kind?,
    };
    if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?;
    Ok(())
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy(chains) => chains.fmt(f),
            Self::Nft(chains) => chains.fmt(f),
            Self::NftTable { family, name } => write!(f, "nftables table {family} {name}"),
            Self::Ipset(name) => write!(f, "ipset {name}"),
            Self::Link(name) => write!(f, "link {name}"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for Leftover {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut fields = serializer.serialize_struct("Leftover", 2)?;
        fields.serialize_field("kind", self.kind())?;
        fields.serialize_field("name", &self.to_string())?;
        fields.end()
    }
}
