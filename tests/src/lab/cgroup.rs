//! A cgroup of this test's own, so that the socket programs of its agents see only the sockets of
//! its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

const PREFIX: &str = "weir-lab-";

/// Moves this process into a cgroup (version 2) of its own and returns the path. Child processes
/// inherit it.
///
/// A process cannot remove its own cgroup, so a later test process does.
///
/// # Errors
/// When no cgroup2 is mounted, or without root.
pub(super) fn own() -> Result<&'static Path> {
    static OWN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match OWN.get_or_init(|| enter().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => Err(anyhow!("{error}")),
    }
}

fn enter() -> Result<PathBuf> {
    let root = root()?;
    remove_stale(&root)?;
    let pid = std::process::id();
    let own = root.join(format!("{PREFIX}{pid}"));
    fs::create_dir(&own).with_context(|| format!("create {}", own.display()))?;
    fs::write(own.join("cgroup.procs"), pid.to_string())
        .with_context(|| format!("move into {}", own.display()))?;
    Ok(own)
}

fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    found.context("no cgroup2 is mounted")
}

/// Removes the cgroups of earlier tests. The kernel refuses to remove one that is in use.
fn remove_stale(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).with_context(|| format!("list {}", root.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}
