//! The plugin's files, and the check that deleted pods have left no state on a node.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cni::Cni;
use super::observe::{Link, Observe};

/// The files, found by the directories of the configuration.
impl Cni {
    /// The directory with a file for each reserved address.
    ///
    /// # Errors
    /// When the configuration has no data directory or name.
    pub fn store(&self) -> Result<PathBuf> {
        let ipam = self.config().get("ipam").context("no ipam in the configuration")?;
        let data = ipam.get("dataDir").and_then(Value::as_str).context("no dataDir")?;
        Ok(Path::new(data).join(self.config().text("name").context("no name")?))
    }

    /// The directory with a record for each pod.
    ///
    /// # Errors
    /// When the configuration has no run directory.
    pub fn records_dir(&self) -> Result<PathBuf> {
        Ok(Path::new(self.config().text("runDir").context("no runDir")?).join("endpoints"))
    }

    /// Each reserved address with the content of its file.
    ///
    /// # Errors
    /// When the store cannot be read; one that does not exist is empty.
    pub fn reservations(&self) -> Result<BTreeMap<IpAddr, String>> {
        let store = self.store()?;
        let mut reservations = BTreeMap::new();
        for name in names(&store)? {
            if let Ok(address) = name.parse() {
                let content = fs::read_to_string(store.join(&name))
                    .with_context(|| format!("read the reservation of {name}"))?;
                reservations.insert(address, content);
            }
        }
        Ok(reservations)
    }

    /// The endpoint record of a host interface.
    ///
    /// # Errors
    /// When it is missing, or is not JSON.
    pub fn record(&self, host_interface: &str) -> Result<Value> {
        let path = self.records_dir()?.join(format!("{host_interface}.json"));
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// The names of all files in the directory of endpoint records.
    ///
    /// # Errors
    /// When the directory cannot be read; one that does not exist is empty.
    pub fn records(&self) -> Result<Vec<String>> {
        names(&self.records_dir()?)
    }

    /// The host sides of pods: all veth interfaces of the node except the lab's uplink.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn host_interfaces(&self) -> Result<Vec<Link>> {
        let mut links = self.node().links()?;
        links.retain(|link| {
            link.info.kind.as_deref() == Some("veth") && !["uplink", "wire"].contains(&&*link.name)
        });
        Ok(links)
    }

    /// Checks that no pod has left an interface, a forwarding entry, a reservation or a record, and
    /// that every file belongs to the store's format.
    ///
    /// # Errors
    /// When something is left; the error lists all of it.
    pub fn ensure_nothing_left(&self) -> Result<()> {
        let links: Vec<_> = self.host_interfaces()?.into_iter().map(|link| link.name).collect();
        let mut fdb = self.node().fdb()?;
        fdb.retain(|entry| entry.state == "static");
        let files: Vec<_> =
            names(&self.store()?)?.into_iter().filter(|name| !is_bookkeeping(name)).collect();
        let records = self.records()?;
        ensure!(
            links.is_empty() && fdb.is_empty() && files.is_empty() && records.is_empty(),
            "left behind: interfaces {links:?}, forwarding entries {fdb:?}, files in the store \
             {files:?}, records {records:?}"
        );
        Ok(())
    }
}

/// The store's files that are not about a single container.
fn is_bookkeeping(name: &str) -> bool {
    name == "lock" || name == "boot_id" || name.starts_with("last_reserved_ip.")
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", directory.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
