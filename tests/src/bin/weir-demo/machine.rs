//! The machine that the demonstration runs on and must leave unchanged.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The machine's state before the demonstration.
#[derive(Debug)]
pub(crate) struct Machine {
    interfaces: BTreeSet<String>,
}

impl Machine {
    pub(crate) fn observe() -> Result<Self> {
        Ok(Self { interfaces: interfaces()? })
    }

    /// Checks that the demonstration has left no interface, no mount in `dir`, and no `dir`.
    pub(crate) fn ensure_unchanged(&self, dir: &Path) -> Result<()> {
        // Other programs may create interfaces at the same time, but not with these names.
        let ours = |name: &&String| name.starts_with("weir");
        let now = interfaces()?;
        let new: Vec<_> = now.difference(&self.interfaces).filter(ours).collect();
        ensure!(new.is_empty(), "new interfaces on this machine: {new:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        let inside = |line: &&str| line.contains(&*dir.to_string_lossy());
        let new: Vec<_> = mounts.lines().filter(inside).collect();
        ensure!(new.is_empty(), "new mounts on this machine: {new:?}");
        ensure!(!dir.exists(), "{} still exists", dir.display());
        Ok(())
    }
}

fn interfaces() -> Result<BTreeSet<String>> {
    let listed = fs::read_dir("/sys/class/net").context("list the interfaces")?;
    let name = |entry: std::io::Result<fs::DirEntry>| -> Result<String> {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    listed.map(name).collect()
}
