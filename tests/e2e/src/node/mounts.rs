//! The mounts of a node.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::machine::cgroup::hierarchies;
use crate::process;

/// Whether a node has run before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Boot {
    /// It has not: the host's boot id and time are good enough.
    First,
    /// It has: the node must see a new boot id and time.
    Again,
}

/// Gives a machine its own mounts of everything that a node writes to. `disk` holds the files that
/// survive a boot.
///
/// # Errors
/// When a mount fails.
pub(crate) fn mount(machine: &Machine, disk: &Path, boot: Boot) -> Result<()> {
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
    let mut script = machine.command("sh")?;
    script.args(["-c", include_str!("mounts.sh"), &machine.name]).arg(disk).arg(boot).arg(lines);
    process::output(&mut script).map(drop)
}
