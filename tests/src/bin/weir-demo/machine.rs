//! The machine that the demonstration runs on, which must not change by it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What the machine had before.
#[derive(Debug)]
pub(crate) struct Machine {
    interfaces: BTreeSet<String>,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        Ok(Self { interfaces: interfaces()? })
    }

    /// That neither an interface of ours, nor a mount in `dir`, nor `dir` itself is there.
    pub(crate) fn ensure_untouched(&self, dir: &Path) -> Result<()> {
        // Others may make interfaces at the same time: only ours have these names.
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
