//! Tasks that make network namespaces must run as root.

use anyhow::{Result, bail};

/// Fails unless the task runs as root.
pub(crate) fn demand(task: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    bail!(
        "cargo xtask {task} makes network namespaces and links, which only root may do; \
         run it as root, for example: sudo env PATH=\"$PATH\" cargo xtask {task}"
    );
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
