//! Where the node's processes are: the root of the cgroups of version 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const MOUNTS: &str = "/proc/self/mounts";

/// Where a host that has both versions mounts the second.
const UNIFIED: &str = "unified";

/// Every cgroup of version 2 has this file.
const MARK: &str = "cgroup.procs";
const MARK_OF_V2: &str = "cgroup.controllers";

/// There is no such place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mounts cannot be read.
    #[error("read {MOUNTS}")]
    Mounts(#[source] io::Error),
    /// None of them is one of cgroups.
    #[error("no cgroup2 is mounted")]
    None,
    /// The folder that was named is none.
    #[error("{} is no cgroup of version 2", .0.display())]
    Other(PathBuf),
}

/// The folder that `named` or `/proc` names. Where both versions are mounted, the second may be in
/// a folder of the first.
pub(super) fn root(named: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(named) = named {
        let candidates = [named.to_owned(), named.join(UNIFIED)];
        let is_cgroup = |path: &PathBuf| [MARK, MARK_OF_V2].iter().all(|m| path.join(m).exists());
        return candidates
            .into_iter()
            .find(is_cgroup)
            .ok_or_else(|| Error::Other(named.to_owned()));
    }
    let mounts = fs::read_to_string(MOUNTS).map_err(Error::Mounts)?;
    first(&mounts).ok_or(Error::None)
}

/// The first mount of a cgroup2 file system. A space in a path is written as `\040`; such paths are
/// passed over.
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
    fn the_second_version_is_found_beside_the_first() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(first(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let unified = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert_eq!(first(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(first("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_named_in_the_error() {
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
