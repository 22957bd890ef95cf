//! The cgroups of a runtime's containers, which outlive its namespaces and processes.

use std::fs;
use std::path::{Path, PathBuf};

/// How the directories of nodes are named, and with them the cgroups of their containers.
const PREFIX: &str = "weir-lab-";

/// Removes the cgroup `name` below the root of every hierarchy, with those below it.
///
/// The kernel keeps a cgroup that has processes.
pub(super) fn remove(name: &str) {
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.join(name));
    }
}

/// Removes the cgroups of killed test processes.
pub(super) fn remove_stale() {
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            if owner(&entry.file_name().to_string_lossy())
                .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
            {
                remove_tree(&entry.path());
            }
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Where cgroups of either version are mounted; on many machines that is both.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(hierarchy).collect()
}

fn hierarchy(mount: &str) -> Option<PathBuf> {
    let mut fields = mount.split(' ').skip(1);
    let (path, kind) = (fields.next()?, fields.next()?);
    matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(path))
}

fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroup_are_found_among_the_mounts() {
        let v1 = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0";
        let v2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0";
        assert_eq!(hierarchy(v1), Some(PathBuf::from("/sys/fs/cgroup/memory")));
        assert_eq!(hierarchy(v2), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(hierarchy("tmpfs /sys/fs/cgroup tmpfs rw 0 0"), None);
    }
}
