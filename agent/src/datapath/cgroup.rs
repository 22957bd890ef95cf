//! Finding the root of the cgroups (version 2), which contains the node's processes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const MOUNTS: &str = "/proc/self/mounts";

/// The directory of version 2 on a host with both versions.
const UNIFIED: &str = "unified";

/// A cgroup of version 2 has both of these files.
const MARK: &str = "cgroup.procs";
const MARK_OF_V2: &str = "cgroup.controllers";

/// Why no cgroup was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mounts cannot be read.
    #[error("read {MOUNTS}")]
    Mounts(#[source] io::Error),
    /// No mount is a cgroup2 file system.
    #[error("no cgroup2 is mounted")]
    None,
    /// The given directory is not a cgroup of version 2.
    #[error("{} is not a cgroup of version 2", .0.display())]
    NotCgroup(PathBuf),
}

/// The directory `named`, or else the first mount in `/proc`. On a host with both versions, the
/// directory may be a subdirectory of `named`.
pub(super) fn root(named: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(named) = named {
        let candidates = [named.to_owned(), named.join(UNIFIED)];
        let is_cgroup = |path: &PathBuf| [MARK, MARK_OF_V2].iter().all(|m| path.join(m).exists());
        return candidates
            .into_iter()
            .find(is_cgroup)
            .ok_or_else(|| Error::NotCgroup(named.to_owned()));
    }
    let mounts = fs::read_to_string(MOUNTS).map_err(Error::Mounts)?;
    first(&mounts).ok_or(Error::None)
}

/// The first mount of a cgroup2 file system. Paths with escapes (a space is `\040`) are skipped.
fn first(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2" && !path.contains('\\')).then(|| path.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_is_found_beside_version_1() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(first(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let unified = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert_eq!(first(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(first("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }

    #[test]
    fn the_error_names_a_directory_that_is_not_a_cgroup() {
        let folder = tempfile::tempdir().unwrap();
        let error = root(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        let unified = folder.path().join(UNIFIED);
        fs::create_dir(&unified).unwrap();
        for mark in [MARK, MARK_OF_V2] {
            fs::write(unified.join(mark), "").unwrap();
        }
        assert_eq!(root(Some(folder.path())).unwrap(), unified);
    }
}
