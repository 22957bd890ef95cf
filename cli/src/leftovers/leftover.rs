//! An object that kube-proxy or flannel have left, and its removal.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use weir_netlink::{Netlink, link};

use super::{legacy, nft};
use crate::tool;

/// An object that its owner has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// Chains of a table of iptables-legacy, with the rules that lead to them.
    Legacy(legacy::Chains),
    /// Chains of a table of nftables, such as those of iptables-nft, with the rules that lead to them.
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
    /// A file, or a directory with its content.
    Path(PathBuf),
}

impl Leftover {
    /// Removes it.
    pub(crate) async fn remove(&self, netlink: &Netlink) -> Result<()> {
        match self {
            Self::Legacy(chains) => chains.remove().await,
            Self::Nft(chains) => nft::apply(&chains.script).await,
            Self::NftTable { family, name } => {
                nft::apply(&format!("delete table {family} {name}\n")).await
            }
            Self::Ipset(name) => {
                tool::run("ipset", &["destroy", name], "")
                    .await?
                    .context("the program ipset is not installed")?;
                Ok(())
            }
            Self::Link(name) => {
                link::delete(netlink, name).await?;
                Ok(())
            }
            Self::Path(path) => remove_path(path),
        }
    }

    /// Its kind in JSON.
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
