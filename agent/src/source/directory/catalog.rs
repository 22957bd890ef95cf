//! The files of the directory: what each of them said last.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::hash::Hash;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use thiserror::Error;

use super::follow::Changes;
use crate::model::{EndpointSlice, Nodes, ObjectName, Objects, Service, World};
use crate::source::manifest::{Entry, Manifest};

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
    /// What the last world had: the next one tells what has changed since.
    services: Objects<Service>,
    slices: Objects<EndpointSlice>,
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
        let (services, slices) = (Objects::default(), Objects::default());
        Self { directory, files: BTreeMap::new(), services, slices }
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
    pub(super) fn world(&mut self) -> (World, Vec<String>) {
        let mut problems = Vec::new();
        for (file, FileState { version: _, manifest, unreadable }) in &self.files {
            let path = self.directory.join(file);
            problems.extend(unreadable.iter().map(|why| format!("{}: {why}", path.display())));
            problems.extend(
                manifest.problems.iter().map(|problem| {
                    format!("{}:{}: {}", path.display(), problem.line, problem.what)
                }),
            );
        }
        let nodes = self.nodes(&mut problems);
        let services = self.present("service", |manifest| &manifest.services, &mut problems);
        let slices = self.present("endpoint slice", |manifest| &manifest.slices, &mut problems);
        self.services.replace(services);
        self.slices.replace(slices);
        let (services, slices) = (self.services.clone(), self.slices.clone());
        (World { nodes: nodes.into(), services, slices }, problems)
    }

    fn nodes(&self, problems: &mut Vec<String>) -> Nodes {
        let mut nodes = Nodes::new();
        for (place, entry) in self.firsts("node", |manifest| &manifest.nodes, problems) {
            let node = &entry.object;
            if let Some(other) = nodes.get(&node.uid) {
                problems.push(format!(
                    "{place}: node {} has the uid of node {}, which counts",
                    node.name, other.name
                ));
            } else {
                nodes.insert(node.uid.clone(), Arc::clone(node));
            }
        }
        nodes
    }

    fn present<T: 'static>(
        &self,
        kind: &str,
        of: impl Fn(&Manifest) -> &Vec<Entry<ObjectName, Option<Arc<T>>>>,
        problems: &mut Vec<String>,
    ) -> Vec<(ObjectName, Arc<T>)> {
        let entries = self.firsts(kind, of, problems).into_iter();
        let objects = entries.map(|(_, Entry { name, object, .. })| (name, object.as_ref()));
        objects.filter_map(|(name, object)| Some((name.clone(), Arc::clone(object?)))).collect()
    }

    /// The entries of a kind, each with its place. Of several of one name the first one counts.
    fn firsts<N: Clone + Eq + Hash + Display + 'static, T: 'static>(
        &self,
        kind: &str,
        of: impl Fn(&Manifest) -> &Vec<Entry<N, T>>,
        problems: &mut Vec<String>,
    ) -> Vec<(Place, &Entry<N, T>)> {
        let mut places: HashMap<&N, Place> = HashMap::new();
        let mut firsts = Vec::new();
        for (file, state) in &self.files {
            let path: Arc<Path> = self.directory.join(file).into();
            for entry in of(&state.manifest) {
                let place = Place { path: Arc::clone(&path), line: entry.line };
                match places.entry(&entry.name) {
                    hash_map::Entry::Occupied(first) => problems.push(format!(
                        "{place}: {kind} {} is also at {}, which counts",
                        entry.name,
                        first.get()
                    )),
                    hash_map::Entry::Vacant(vacant) => {
                        vacant.insert(place.clone());
                        firsts.push((place, entry));
                    }
                }
            }
        }
        firsts
    }
}

/// Where an object was found.
#[derive(Debug, Clone)]
struct Place {
    path: Arc<Path>,
    line: u64,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
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
