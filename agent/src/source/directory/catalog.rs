//! The files of the directory: what each of them said last.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use super::follow::Changes;
use crate::model::World;
use crate::source::manifest::Manifest;

/// Why the directory could not be read.
#[derive(Debug, Error)]
#[error("read the manifests in {}: {source}", directory.display())]
pub(super) struct CatalogError {
    directory: PathBuf,
    source: io::Error,
}

/// What the files said last.
#[derive(Debug)]
pub(super) struct Catalog {
    directory: PathBuf,
    files: BTreeMap<OsString, FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    /// The file as it was when it was read last; none if that failed.
    version: Option<Version>,
    manifest: Manifest,
    unreadable: Option<String>,
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// Whether a file of this name is one of ours. Editors keep their unfinished copies in hidden files
/// and under other endings.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json"))
        && !name.as_bytes().starts_with(b".")
        && !name.as_bytes().starts_with(b"#")
}

impl Catalog {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, files: BTreeMap::new() }
    }

    /// Reads the files that are new or that changed, and forgets those that are gone. After an error
    /// everything is as it was.
    pub(super) async fn read(&mut self, changes: &Changes) -> Result<(), CatalogError> {
        let there = versions(&self.directory)
            .map_err(|source| CatalogError { directory: self.directory.clone(), source })?;
        self.files.retain(|name, _| there.contains_key(name));
        for (name, version) in there {
            if changes.is_being_written(&name) {
                continue;
            }
            let state = self.files.entry(name.clone()).or_default();
            if state.version.is_none() || state.version != version || changes.names(&name) {
                state.update(version, read_manifest(self.directory.join(&name)).await);
            }
        }
        Ok(())
    }

    /// The world that the files make together, and everything that is wrong in them.
    pub(super) fn world(&self) -> (World, Vec<String>) {
        let mut world = World::default();
        let mut problems = Vec::new();
        let mut by_name = BTreeMap::new();
        for (file, FileState { version: _, manifest, unreadable }) in &self.files {
            let path = self.directory.join(file);
            problems.extend(unreadable.iter().map(|why| format!("{}: {why}", path.display())));
            problems.extend(
                manifest.problems.iter().map(|problem| {
                    format!("{}:{}: {}", path.display(), problem.line, problem.what)
                }),
            );
            for entry in &manifest.nodes {
                let place = format!("{}:{}", path.display(), entry.line);
                let node = &entry.node;
                if let Some(first) = by_name.get(&node.name) {
                    problems.push(format!(
                        "{place}: node {} is also at {first}, which counts",
                        node.name
                    ));
                } else if let Some(other) = world.nodes.get(&node.uid) {
                    problems.push(format!(
                        "{place}: node {} has the uid of node {}, which counts",
                        node.name, other.name
                    ));
                } else {
                    by_name.insert(node.name.clone(), place);
                    world.nodes.insert(node.uid.clone(), node.clone());
                }
            }
        }
        (world, problems)
    }
}

impl FileState {
    fn update(&mut self, version: Option<Version>, read: io::Result<Manifest>) {
        match read {
            Ok(newer) => {
                self.manifest = self.manifest.succeeded_by(newer);
                self.version = version;
                self.unreadable = None;
            }
            Err(error) => {
                self.version = None;
                self.unreadable = Some(error.to_string());
            }
        }
    }
}

/// The manifests in the directory. A file that is gone before one can look at it, or a link that
/// leads nowhere, has no version.
fn versions(directory: &Path) -> io::Result<BTreeMap<OsString, Option<Version>>> {
    let mut versions = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !is_manifest(&name) {
            continue;
        }
        // Follows links: the files of a mounted ConfigMap are some.
        let version = match fs::metadata(directory.join(&name)) {
            Ok(meta) if meta.is_dir() => continue,
            Ok(meta) => Some(Version {
                device: meta.dev(),
                inode: meta.ino(),
                length: meta.len(),
                modified: (meta.mtime(), meta.mtime_nsec()),
            }),
            Err(_) => None,
        };
        versions.insert(name, version);
    }
    Ok(versions)
}

/// Reads and parses on a thread of its own: thousands of objects take a while.
async fn read_manifest(path: PathBuf) -> io::Result<Manifest> {
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
