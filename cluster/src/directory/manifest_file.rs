//! The files of manifests in the directory: which are there, and in which version.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::manifest::Manifest;

/// Distinguishes the versions of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// Files with their versions. A link that leads nowhere has none.
pub(super) type Versions = BTreeMap<OsString, Option<Version>>;

/// Whether a file of this name is a manifest. Editors keep their unfinished copies in hidden files and
/// under other extensions.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json"))
        && !name.as_bytes().starts_with(b".")
        && !name.as_bytes().starts_with(b"#")
}

/// The manifests in the directory.
pub(super) fn versions(directory: &Path) -> io::Result<Versions> {
    let mut versions = Versions::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if is_manifest(&name)
            && let Some(version) = version(&directory.join(&name))
        {
            versions.insert(name, version);
        }
    }
    Ok(versions)
}

/// The manifests in the directory that have one of these names.
pub(super) fn versions_of(directory: &Path, names: &HashSet<OsString>) -> io::Result<Versions> {
    let mut versions = Versions::new();
    for name in names {
        let path = directory.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            versions.extend(version(&path).map(|version| (name.clone(), version)));
        }
    }
    if versions.len() < names.len() {
        // If the directory itself is missing, its files are not deleted but out of reach.
        fs::metadata(directory)?;
    }
    Ok(versions)
}

/// The version of a file, which a broken link lacks; nothing for a directory.
fn version(path: &Path) -> Option<Option<Version>> {
    // Follows links: the files of a mounted ConfigMap are links.
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => None,
        Ok(meta) => Some(Some(Version {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })),
        Err(_) => Some(None),
    }
}

/// Reads and parses a file on a thread of its own: thousands of objects take a while.
pub(super) async fn read_manifest(path: PathBuf) -> io::Result<Manifest> {
    let work = move || fs::read(path).map(|bytes| Manifest::parse(&bytes));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_copies_of_editors_are_not_manifests() {
        for name in ["a.yaml", "a.yml", "a.b.json"] {
            assert!(is_manifest(OsStr::new(name)), "{name}");
        }
        for name in [".a.yaml.swp", ".#a.yaml", "#a.yaml#", "a.yaml~", "4913", "..data", "yaml"] {
            assert!(!is_manifest(OsStr::new(name)), "{name}");
        }
    }
}
