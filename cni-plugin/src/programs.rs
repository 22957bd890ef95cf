//! The eBPF programs that the agent pins for the plugin to attach.

use std::{fs, io::ErrorKind, path::Path};

use tracing::debug;

use crate::Error;

/// Looks for pinned programs. Without any, pods get plain bridge networking.
///
/// With programs there, a pod without them would have no Services from its first packet on; this
/// version cannot attach them, so it refuses.
pub(crate) fn check_none_pinned(pin_dir: &Path) -> Result<(), Error> {
    let mut entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            debug!(pin_dir = %pin_dir.display(), "no eBPF programs are pinned: plain bridge networking");
            return Ok(());
        }
        Err(error) => return Err(Error::file("read", pin_dir)(error)),
    };
    if entries.next().is_some() {
        return Err(Error::Programs { path: pin_dir.to_owned() });
    }
    debug!(pin_dir = %pin_dir.display(), "no eBPF programs are pinned: plain bridge networking");
    Ok(())
}
