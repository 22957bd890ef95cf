//! The temporary directory of a node. Directories of killed tests are removed later.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

const PREFIX: &str = "weir-lab-";

/// `<temp>/weir-lab-<pid>-<n>`, removed on drop. By the process ID a later run recognizes a directory
/// that is no longer used.
#[derive(Debug)]
pub(super) struct LabDir(PathBuf);

impl LabDir {
    pub(super) fn new() -> Result<Self> {
        static CLEANED: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        CLEANED.call_once(remove_stale);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LabDir {
    fn drop(&mut self) {
        // A failure cannot be reported from here; the next run removes the directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the directories of processes that have ended. Mounts below them ended with the mount
/// namespaces of those processes, so only ordinary files are left.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        if owner(&entry.file_name().to_string_lossy())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lab_directories_have_an_owner() {
        assert_eq!(owner("weir-lab-17-3"), Some(17));
        assert_eq!(owner("weir-lab-x-3"), None);
        assert_eq!(owner("weir-17-3"), None);
    }

    #[test]
    fn only_the_directory_of_a_process_that_has_ended_is_removed() {
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let left = std::env::temp_dir().join(format!("{PREFIX}{}-0", dead.id()));
        fs::create_dir_all(left.join("netns/a")).unwrap();
        let used = LabDir::new().unwrap();
        remove_stale();
        assert!(!left.exists() && used.path().exists());
    }
}
