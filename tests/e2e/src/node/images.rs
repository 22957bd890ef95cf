//! Container images, imported from archives: the nodes reach no registry.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::environment::Environment;
use crate::member::Member;
use crate::process;

/// Imports all archives into the node's runtime.
///
/// # Errors
/// When there are none, or the runtime refuses one.
pub(crate) fn import(environment: &Environment, node: &Member) -> Result<()> {
    let folder = environment.images()?;
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut archives: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    archives.sort();
    ensure!(!archives.is_empty(), "there are no images in {}", folder.display());
    for archive in archives {
        let mut ctr = node.machine.command("ctr")?;
        ctr.args(["--namespace", "k8s.io", "images", "import"]).arg(&archive);
        process::output(&mut ctr).with_context(|| format!("import {}", archive.display()))?;
    }
    Ok(())
}
