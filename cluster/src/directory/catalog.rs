//! The files of the directory: what each of them said last, and the snapshot that they make together.
//!
//! A file that changes costs what is in it, not what is in all: what counts of the objects of a name
//! is found by their [`Places`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::hash::Hash;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use futures_util::{StreamExt, stream};
use thiserror::Error;

use super::follow::Changes;
use super::places::{Place, Places};
use crate::manifest::{Entry, Manifest};
use weir_model::{EndpointSlice, Node, NodeUid, Nodes, ObjectName, Objects, Service, Snapshot};

/// So many files are read at once.
const WINDOW: usize = 16;

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
    files: BTreeMap<Arc<OsStr>, FileState>,
    /// Files with something wrong.
    troubled: BTreeSet<Arc<OsStr>>,
    node_places: Places<String>,
    /// Of those nodes that count: two may claim to be the same one.
    uid_places: Places<NodeUid>,
    uids: HashMap<String, (NodeUid, Place)>,
    service_places: Places<ObjectName>,
    slice_places: Places<ObjectName>,
    nodes: Arc<Nodes>,
    /// What the last snapshot had: the next one tells what has changed since.
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

/// Files with their versions. One that a link leads nowhere for has none.
type Versions = BTreeMap<OsString, Option<Version>>;

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
        Self {
            directory,
            files: BTreeMap::new(),
            troubled: BTreeSet::new(),
            node_places: Places::default(),
            uid_places: Places::default(),
            uids: HashMap::new(),
            service_places: Places::default(),
            slice_places: Places::default(),
            nodes: Arc::default(),
            services: Objects::default(),
            slices: Objects::default(),
        }
    }

    /// Reads the files that are new or that changed, and forgets those that are gone. If it is known
    /// which those are, no other is looked at. After an error everything is as it was.
    pub(super) async fn read(&mut self, changes: &Changes) -> Result<(), CatalogError> {
        let there = self.look(changes).await;
        let there =
            there.map_err(|source| CatalogError { directory: self.directory.clone(), source })?;
        let is_gone = |name: &Arc<OsStr>| !there.contains_key(&**name);
        let gone: Vec<Arc<OsStr>> = match changes.only() {
            Some(names) => {
                let known = names.iter().filter_map(|name| self.files.get_key_value(&**name));
                known.map(|(name, _)| name).filter(|name| is_gone(name)).cloned().collect()
            }
            None => self.files.keys().filter(|name| is_gone(name)).cloned().collect(),
        };
        for name in gone {
            self.put(&name, None);
        }
        let is_new = |(name, version): &(OsString, Option<Version>)| {
            let known = self.files.get(&**name).and_then(|state| state.version);
            !changes.is_being_written(name)
                && (known.is_none() || known != *version || changes.names(name))
        };
        let new: Vec<_> = there.into_iter().filter(is_new).collect();
        let directory = self.directory.clone();
        let mut read = stream::iter(new)
            .map(|(name, version)| {
                let path = directory.join(&name);
                async move { (name, version, read_manifest(path).await) }
            })
            .buffered(WINDOW);
        while let Some((name, version, outcome)) = read.next().await {
            let known = self.files.get_key_value(&*name).map(|(name, _)| Arc::clone(name));
            let name = known.unwrap_or_else(|| name.into());
            let before = self.files.get(&name).map(|state| &state.manifest);
            let state = FileState::after(before, version, outcome);
            self.put(&name, Some(state));
        }
        Ok(())
    }

    /// The snapshot that the files make together, and everything that is wrong in them.
    pub(super) fn snapshot(&self) -> (Snapshot, Vec<String>) {
        let Self { nodes, services, slices, .. } = self;
        let (nodes, services, slices) = (Arc::clone(nodes), services.clone(), slices.clone());
        (Snapshot { nodes, services, slices }, self.problems())
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (file, state) in self.troubled.iter().filter_map(|file| self.files.get_key_value(file))
        {
            let path = self.directory.join(&**file);
            problems
                .extend(state.unreadable.iter().map(|why| format!("{}: {why}", path.display())));
            problems.extend(
                state.manifest.problems.iter().map(|problem| {
                    format!("{}:{}: {}", path.display(), problem.line, problem.what)
                }),
            );
        }
        self.report_repeated("node", &self.node_places, &mut problems);
        for (_, first, other) in self.uid_places.repeated() {
            let name = |place| self.node_at(place).map_or("", |node| &node.name);
            problems.push(format!(
                "{}: node {} has the uid of node {}, which counts",
                self.show(other),
                name(other),
                name(first)
            ));
        }
        self.report_repeated("service", &self.service_places, &mut problems);
        self.report_repeated("endpoint slice", &self.slice_places, &mut problems);
        problems
    }

    fn report_repeated<N: Clone + Ord + Hash + Display>(
        &self,
        kind: &str,
        places: &Places<N>,
        problems: &mut Vec<String>,
    ) {
        problems.extend(places.repeated().map(|(name, first, other)| {
            let (first, other) = (self.show(first), self.show(other));
            format!("{other}: {kind} {name} is also at {first}, which counts")
        }));
    }

    fn show(&self, place: &Place) -> String {
        format!("{}:{}", self.directory.join(&*place.file).display(), place.line)
    }

    /// Puts a file in the place of what it was, or takes it away.
    fn put(&mut self, name: &Arc<OsStr>, state: Option<FileState>) {
        let old = self.files.remove(name).unwrap_or_default().manifest;
        let new = state.as_ref().map(|state| &state.manifest);
        let nodes = turn(&mut self.node_places, name, &old.nodes, new.map(|new| &*new.nodes));
        let services =
            turn(&mut self.service_places, name, &old.services, new.map(|new| &*new.services));
        let slices = turn(&mut self.slice_places, name, &old.slices, new.map(|new| &*new.slices));
        self.troubled.remove(name);
        if let Some(state) = state {
            if state.unreadable.is_some() || !state.manifest.problems.is_empty() {
                self.troubled.insert(Arc::clone(name));
            }
            self.files.insert(Arc::clone(name), state);
        }
        let Self { files, services: known, service_places: places, .. } = self;
        recount(known, services, places, files, |manifest| &manifest.services);
        let Self { files, slices: known, slice_places: places, .. } = self;
        recount(known, slices, places, files, |manifest| &manifest.slices);
        self.recount_nodes(nodes);
    }

    fn recount_nodes(&mut self, names: HashSet<String>) {
        let mut doubtful = HashSet::new();
        // First all go, then they come: one may be now where another was.
        for name in &names {
            if let Some((uid, place)) = self.uids.remove(name) {
                self.uid_places.remove(&uid, &place);
                doubtful.insert(uid);
            }
        }
        for name in names {
            let place = self.node_places.first(&name).cloned();
            if let Some(place) = place
                && let Some(node) = self.node_at(&place)
            {
                let uid = node.uid.clone();
                self.uid_places.add(&uid, place.clone());
                self.uids.insert(name, (uid.clone(), place));
                doubtful.insert(uid);
            }
        }
        for uid in doubtful {
            let node = self.uid_places.first(&uid).and_then(|place| self.node_at(place)).cloned();
            if self.nodes.get(&uid) != node.as_ref() {
                let nodes = Arc::make_mut(&mut self.nodes);
                match node {
                    Some(node) => nodes.insert(uid, node),
                    None => nodes.remove(&uid),
                };
            }
        }
    }

    fn node_at(&self, place: &Place) -> Option<&Arc<Node>> {
        let state = self.files.get(&place.file)?;
        state.manifest.nodes.get(place.number).map(|entry| &entry.object)
    }

    /// The files that are there, of those that may have changed.
    async fn look(&self, changes: &Changes) -> io::Result<Versions> {
        let directory = self.directory.clone();
        match changes.only() {
            Some(names) => versions_of(&directory, names),
            None => {
                let work = move || versions(&directory);
                let outcome = tokio::task::spawn_blocking(work).await;
                outcome.unwrap_or_else(|error| Err(error.into()))
            }
        }
    }
}

/// Makes the places of a file's objects those that it has now. Tells the names that this concerns.
fn turn<N: Clone + Ord + Hash, T>(
    places: &mut Places<N>,
    file: &Arc<OsStr>,
    old: &[Entry<N, T>],
    new: Option<&[Entry<N, T>]>,
) -> HashSet<N> {
    let at = |(number, entry): (usize, &Entry<N, T>)| Place {
        file: Arc::clone(file),
        number,
        line: entry.line,
    };
    let new = new.unwrap_or_default();
    for (number, entry) in old.iter().enumerate() {
        places.remove(&entry.name, &at((number, entry)));
    }
    for (number, entry) in new.iter().enumerate() {
        places.add(&entry.name, at((number, entry)));
    }
    old.iter().chain(new).map(|entry| entry.name.clone()).collect()
}

/// Makes these objects what their first places say.
fn recount<T: PartialEq>(
    objects: &mut Objects<T>,
    names: HashSet<ObjectName>,
    places: &Places<ObjectName>,
    files: &BTreeMap<Arc<OsStr>, FileState>,
    of: impl Fn(&Manifest) -> &Vec<Entry<ObjectName, Option<Arc<T>>>>,
) {
    for name in names {
        let place = places.first(&name);
        let entry = place.and_then(|place| of(&files.get(&place.file)?.manifest).get(place.number));
        match entry.and_then(|entry| entry.object.as_ref()) {
            Some(object) => objects.insert(name, Arc::clone(object)),
            None => objects.remove(&name),
        };
    }
}

impl FileState {
    /// What a file is that was read now, and said this before.
    fn after(
        before: Option<&Manifest>,
        version: Option<Version>,
        read: io::Result<Manifest>,
    ) -> Self {
        match read {
            Ok(newer) => {
                let manifest = match before {
                    Some(before) => before.succeeded_by(newer),
                    None => newer,
                };
                Self { version, manifest, unreadable: None }
            }
            Err(error) => {
                let manifest = before.cloned().unwrap_or_default();
                Self { version: None, manifest, unreadable: Some(error.to_string()) }
            }
        }
    }
}

/// The manifests in the directory. A file that is gone before one can look at it, or a link that
/// leads nowhere, has no version.
fn versions(directory: &Path) -> io::Result<Versions> {
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

/// Those of these manifests that are there.
fn versions_of(directory: &Path, names: &HashSet<OsString>) -> io::Result<Versions> {
    let mut versions = Versions::new();
    for name in names {
        let path = directory.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            versions.extend(version(&path).map(|version| (name.clone(), version)));
        }
    }
    if versions.len() < names.len() {
        // With the directory they are not gone, but out of sight.
        fs::metadata(directory)?;
    }
    Ok(versions)
}

/// The version of a file, if it has one; nothing of a directory.
fn version(path: &Path) -> Option<Option<Version>> {
    // Follows links: the files of a mounted ConfigMap are some.
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

/// Reads and parses on a thread of its own: thousands of objects take a while.
async fn read_manifest(path: PathBuf) -> io::Result<Manifest> {
    let work = move || fs::read(path).map(|bytes| Manifest::parse(&bytes));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()))
}

#[cfg(test)]
mod tests;
