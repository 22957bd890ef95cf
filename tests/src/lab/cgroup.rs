//! A cgroup for the processes of this test alone, so that programs that agents attach to sockets
//! see nobody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

const PREFIX: &str = "weir-lab-";

/// The cgroup (of version 2) that this process is in from now on. What it starts is in it, too.
///
/// A process cannot remove the cgroup that it is in: the next one does.
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
    sweep(&root)?;
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

/// Removes what earlier tests have left. The kernel refuses to remove one that is in use.
fn sweep(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).with_context(|| format!("list {}", root.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}
