//! The lock on the project's cache folder.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

use crate::console;

/// Waits until no other task writes to the cache folder. The lock is released when the file is
/// dropped, or when the process ends.
///
/// # Errors
/// When the folder or the lock's file cannot be made.
pub fn acquire(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let locked = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            console::note("waiting for another task that installs tools");
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    locked.with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
