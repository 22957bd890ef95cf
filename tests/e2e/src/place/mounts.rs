//! The mounts of a node.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Place;
use super::cgroup::hierarchies;
use crate::process;

/// Which start of a node this is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Boot {
    /// Its first: the kernel's own account of the boot will do.
    First,
    /// Another: the node must see that it has booted since.
    Again,
}

/// Gives a place its own view of what a node writes to. `disk` holds what outlives a boot.
///
/// # Errors
/// When a mount fails.
pub(crate) fn mount(place: &Place, disk: &Path, boot: Boot) -> Result<()> {
    fs::create_dir_all(disk).with_context(|| format!("create {}", disk.display()))?;
    let lines = hierarchies()?.into_iter().map(|hierarchy| {
        let options =
            if hierarchy.options.is_empty() { "rw".to_owned() } else { hierarchy.options };
        format!("{} {} {options}\n", hierarchy.path.display(), hierarchy.kind)
    });
    let lines: String = lines.collect();
    let boot = match boot {
        Boot::First => "first",
        Boot::Again => "again",
    };
    let mut script = place.command("sh")?;
    script.args(["-c", include_str!("mounts.sh"), &place.name]).arg(disk).arg(boot).arg(lines);
    process::output(&mut script).map(drop)
}
