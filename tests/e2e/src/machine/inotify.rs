//! The number of inotify instances that a user may have. Several kubelets need more than the
//! kernel's default, and the setting exists for the whole host only.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const SETTING: &str = "/proc/sys/fs/inotify/max_user_instances";
const WANTED: u32 = 2048;
const RECORD: &str = "inotify-instances";

/// Raises the limit if it is too low. The old value is recorded first, in the cluster's folder.
///
/// # Errors
/// When the setting or the record cannot be read or written.
pub(crate) fn raise(state: &Path) -> Result<()> {
    let found: u32 = read(Path::new(SETTING))?;
    if found < WANTED {
        fs::write(state.join(RECORD), found.to_string()).context("record the inotify limit")?;
        fs::write(SETTING, WANTED.to_string()).with_context(|| format!("write {SETTING}"))?;
    }
    Ok(())
}

/// Restores the old limit, if it was raised and has not been changed since.
///
/// # Errors
/// When the setting or the record cannot be read or written.
pub(crate) fn restore(state: &Path) -> Result<()> {
    let record = state.join(RECORD);
    if record.exists() && read(Path::new(SETTING))? == WANTED {
        fs::write(SETTING, read(&record)?.to_string())
            .with_context(|| format!("write {SETTING}"))?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<u32> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} is not a number", file.display()))
}
