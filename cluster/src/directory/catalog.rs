//! The state of the files of the directory, and which of their definitions are in effect.
//!
//! A file that changes costs what is in it, not what is in all files: [`Definitions`] find the
//! definition of an object that is in effect.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use thiserror::Error;

use super::changes::Changes;
use super::definitions::{Definitions, Location};
use super::manifest_file::{Version, Versions, read_manifest, versions, versions_of};
use crate::kinds::{DecodedObject, Kind, Object, ObjectKey};
use crate::manifest::{Entry, Manifest};
use crate::state_assembler::StateAssembler;

/// How many files are read at once.
const CONCURRENT_READS: usize = 16;

/// Why the directory could not be read.
#[derive(Debug, Error)]
#[error("read the manifests in {}: {source}", directory.display())]
pub(super) struct CatalogError {
    directory: PathBuf,
    source: io::Error,
}

/// The state of the files.
#[derive(Debug)]
pub(super) struct Catalog {
    directory: PathBuf,
    files: BTreeMap<Arc<OsStr>, FileState>,
    /// The files with problems.
    with_problems: BTreeSet<Arc<OsStr>>,
    definitions: Definitions<ObjectKey>,
    /// Of the first definitions of objects that have an identity besides their name.
    identities: Definitions<Identity>,
    identified: HashMap<ObjectKey, (Identity, Location)>,
}

/// A kind, and an identity that two objects of the kind cannot share.
type Identity = (Kind, String);

#[derive(Debug, Default)]
struct FileState {
    /// The version that was read last; none if that failed.
    version: Option<Version>,
    manifest: Manifest,
    unreadable: Option<String>,
}

impl Catalog {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            files: BTreeMap::new(),
            with_problems: BTreeSet::new(),
            definitions: Definitions::default(),
            identities: Definitions::default(),
            identified: HashMap::new(),
        }
    }

    /// Reads the files that are new or changed, drops those that are gone, and brings the assembler up
    /// to date. If the files that may have changed are known, no other is checked. After an error
    /// everything is as before.
    pub(super) async fn read(
        &mut self,
        changes: &Changes,
        assembler: &mut StateAssembler,
    ) -> Result<(), CatalogError> {
        let present = self.present_files(changes).await;
        let present =
            present.map_err(|source| CatalogError { directory: self.directory.clone(), source })?;
        let is_gone = |name: &Arc<OsStr>| !present.contains_key(&**name);
        let gone: Vec<Arc<OsStr>> = match changes.only() {
            Some(names) => {
                let known = names.iter().filter_map(|name| self.files.get_key_value(&**name));
                known.map(|(name, _)| name).filter(|name| is_gone(name)).cloned().collect()
            }
            None => self.files.keys().filter(|name| is_gone(name)).cloned().collect(),
        };
        for name in gone {
            self.replace_file(&name, None, assembler);
        }
        let is_new = |(name, version): &(OsString, Option<Version>)| {
            let known = self.files.get(&**name).and_then(|state| state.version);
            !changes.is_being_written(name)
                && (known.is_none() || known != *version || changes.names(name))
        };
        let new: Vec<_> = present.into_iter().filter(is_new).collect();
        let directory = self.directory.clone();
        let mut read = stream::iter(new)
            .map(|(name, version)| {
                let path = directory.join(&name);
                async move { (name, version, read_manifest(path).await) }
            })
            .buffered(CONCURRENT_READS);
        while let Some((name, version, outcome)) = read.next().await {
            let known = self.files.get_key_value(&*name).map(|(name, _)| Arc::clone(name));
            let name = known.unwrap_or_else(|| name.into());
            let before = self.files.get(&name).map(|state| &state.manifest);
            let state = FileState::after(before, version, outcome);
            self.replace_file(&name, Some(state), assembler);
        }
        Ok(())
    }

    /// All problems in the files, with file and line.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let files = self.with_problems.iter().filter_map(|file| self.files.get_key_value(file));
        for (file, FileState { manifest, unreadable, .. }) in files {
            let path = self.directory.join(&**file);
            let path = path.display();
            problems.extend(unreadable.iter().map(|error| format!("{path}: {error}")));
            let of_objects = manifest.problems.iter();
            problems.extend(
                of_objects.map(|problem| format!("{path}:{}: {}", problem.line, problem.text)),
            );
        }
        problems.extend(self.definitions.repeated().map(|(key, first, other)| {
            let (first, other) = (self.show(first), self.show(other));
            format!("{other}: {key} is also defined at {first}, which takes precedence")
        }));
        problems.extend(self.identities.repeated().map(|(_, first, other)| {
            let key = |location| self.entry_at(location).map(|entry| entry.key.to_string());
            let (first, key, other) = (key(first), key(other), self.show(other));
            let (first, key) = (first.unwrap_or_default(), key.unwrap_or_default());
            format!("{other}: {key} has the uid of {first}, which takes precedence")
        }));
        problems
    }

    fn show(&self, location: &Location) -> String {
        format!("{}:{}", self.directory.join(&*location.file).display(), location.line)
    }

    /// Replaces the state of a file, or drops the file.
    fn replace_file(
        &mut self,
        name: &Arc<OsStr>,
        state: Option<FileState>,
        assembler: &mut StateAssembler,
    ) {
        let old = self.files.remove(name).unwrap_or_default().manifest.entries;
        let new = state.as_ref().map(|state| &*state.manifest.entries).unwrap_or_default();
        let locate =
            |index, entry: &Entry| Location { file: Arc::clone(name), index, line: entry.line };
        for (index, entry) in old.iter().enumerate() {
            self.definitions.remove(&entry.key, &locate(index, entry));
        }
        for (index, entry) in new.iter().enumerate() {
            self.definitions.add(&entry.key, locate(index, entry));
        }
        let affected: HashSet<ObjectKey> =
            old.iter().chain(new).map(|entry| entry.key.clone()).collect();
        self.with_problems.remove(name);
        if let Some(state) = state {
            if state.unreadable.is_some() || !state.manifest.problems.is_empty() {
                self.with_problems.insert(Arc::clone(name));
            }
            self.files.insert(Arc::clone(name), state);
        }
        let affected = self.update_identities(affected);
        self.update_objects(affected, assembler);
    }

    /// Brings the identities of these objects up to date. Returns these objects and all others that
    /// share an identity with them.
    fn update_identities(&mut self, mut affected: HashSet<ObjectKey>) -> HashSet<ObjectKey> {
        let mut identities = HashSet::new();
        // All are removed before any is added: a definition may be now where another one was.
        for key in &affected {
            if let Some((identity, location)) = self.identified.remove(key) {
                self.identities.remove(&identity, &location);
                identities.insert(identity);
            }
        }
        for key in &affected {
            let Some(location) = self.definitions.first(key) else { continue };
            if let Some(identity) = self.entry_at(location).and_then(identity_of) {
                let location = location.clone();
                self.identities.add(&identity, location.clone());
                self.identified.insert(key.clone(), (identity.clone(), location));
                identities.insert(identity);
            }
        }
        for identity in &identities {
            let sharing = self.identities.all(identity).filter_map(|at| self.entry_at(at));
            affected.extend(sharing.map(|entry| entry.key.clone()));
        }
        affected
    }

    /// Gives the assembler the definitions of these objects that are in effect.
    fn update_objects(&self, affected: HashSet<ObjectKey>, assembler: &mut StateAssembler) {
        let (mut removed, mut objects) = (Vec::new(), Vec::new());
        for key in affected {
            match self.object_in_effect(&key) {
                Some(object) => {
                    objects.push(DecodedObject { key, uid: None, object, invalid: Vec::new() });
                }
                None => removed.push(key),
            }
        }
        assembler.replace(&removed, objects);
    }

    fn object_in_effect(&self, key: &ObjectKey) -> Option<Option<Object>> {
        let location = self.definitions.first(key)?;
        let entry = self.entry_at(location)?;
        let owner = identity_of(entry).map(|identity| self.identities.first(&identity));
        owner.is_none_or(|owner| owner == Some(location)).then(|| entry.object.clone())
    }

    fn entry_at(&self, location: &Location) -> Option<&Entry> {
        self.files.get(&location.file)?.manifest.entries.get(location.index)
    }

    /// The files that exist, of those that may have changed.
    async fn present_files(&self, changes: &Changes) -> io::Result<Versions> {
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

fn identity_of(entry: &Entry) -> Option<Identity> {
    let identity = entry.object.as_ref()?.identity()?;
    Some((entry.key.kind, identity.to_owned()))
}

impl FileState {
    /// The state of a file that has been read, after the state that it had before.
    fn after(
        before: Option<&Manifest>,
        version: Option<Version>,
        read: io::Result<Manifest>,
    ) -> Self {
        match read {
            Ok(newer) => {
                let manifest = match before {
                    Some(before) => before.updated_to(newer),
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

#[cfg(test)]
mod tests;
