//! The temporary directory of a node, and the sweeping of those whose test was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

const PREFIX: &str = "weir-lab-";

/// `<temp>/weir-lab-<pid>-<n>`, removed on drop. The process ID in the name is what tells a later
/// run that nobody uses the directory any more.
#[derive(Debug)]
pub(super) struct LabDir(PathBuf);

impl LabDir {
    pub(super) fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep_dead);
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
        // A failing removal cannot be reported from here; the next run sweeps what stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the directories of processes that are gone. Mounts that were made below them went with
/// the mount namespaces of those processes, so that only ordinary files are left.
fn sweep_dead() {
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
    fn only_directories_of_labs_have_an_owner() {
        assert_eq!(owner("weir-lab-17-3"), Some(17));
        assert_eq!(owner("weir-lab-x-3"), None);
        assert_eq!(owner("weir-17-3"), None);
    }

    #[test]
    fn the_directory_of_a_dead_process_is_swept_and_that_of_a_living_one_stays() {
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let left = std::env::temp_dir().join(format!("{PREFIX}{}-0", dead.id()));
        fs::create_dir_all(left.join("netns/a")).unwrap();
        let used = LabDir::new().unwrap();
        sweep_dead();
        assert!(!left.exists() && used.path().exists());
    }
}
