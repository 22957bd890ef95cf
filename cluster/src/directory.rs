//! The state of the cluster from a directory of manifests: Kubernetes objects as YAML or JSON files.
//!
//! A file is read again when inotify reports it, and then no other file is checked. Every few seconds
//! all files are checked, in case inotify missed a change. A file should be replaced by a rename, which
//! takes effect at once; a file that is being written is read when its writer closes it. An object or
//! file that cannot be read keeps its last good state and is a problem of the source. While the
//! directory is missing the last snapshot stays.

mod catalog;
mod changes;
mod definitions;
mod manifest_file;
mod watcher;

use std::path::PathBuf;

use super::{Publisher, Source};
use crate::kinds::Kind;
use crate::state_assembler::StateAssembler;
use catalog::Catalog;
use changes::Changes;
use watcher::DirectoryWatcher;

/// The source that reads a directory.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    directory: PathBuf,
}

impl DirectorySource {
    /// A source that reads the files `*.yaml`, `*.yml` and `*.json` in `directory`, which may be
    /// created later. Subdirectories and files whose name starts with a dot are not read.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

impl Source for DirectorySource {
    async fn run(self, publisher: Publisher) {
        let Self { directory } = self;
        let mut watcher = DirectoryWatcher::new(directory.clone());
        let mut catalog = Catalog::new(directory);
        let mut assembler = StateAssembler::new(Kind::ALL.iter().copied());
        let mut changes = Changes::default();
        while !publisher.is_closed() {
            // Before reading: changes from here on are reported.
            let unavailable = watcher.attach();
            let read = catalog.read(&changes, &mut assembler).await;
            let mut problems: Vec<String> = unavailable.iter().map(ToString::to_string).collect();
            match &read {
                Ok(()) => {
                    assembler.mark_all_synced();
                    problems.extend(catalog.problems());
                }
                Err(error) => {
                    problems.push(format!("{error}; its last known state stays in use"));
                }
            }
            assembler.set_problems(problems);
            assembler.publish(&publisher);
            changes = watcher.changed().await;
            if read.is_err() {
                changes = changes.among_others();
            }
        }
    }
}

#[cfg(test)]
mod tests;
