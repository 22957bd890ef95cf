//! Cluster state from a directory of manifests: Kubernetes objects as YAML or JSON files.
//!
//! A file is read again when inotify reports it, and no other is looked at for that; every few
//! seconds all are, in case it could not report something. A file should be replaced by a rename,
//! which is taken in at once; one that is being written is left alone until its writer closes it. What cannot be read keeps the last good state of its objects and is a problem of the
//! source. A directory that is missing keeps the last snapshot.

mod catalog;
mod follow;
mod places;

use std::path::PathBuf;
use std::time::Instant;

use super::publication::publish;
use super::{Publisher, Source, SourceStatus};
use catalog::Catalog;
use follow::{Changes, Follower};

/// The source that reads a directory.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    directory: PathBuf,
}

impl DirectorySource {
    /// A source that reads the files `*.yaml`, `*.yml` and `*.json` in `directory`, which may come
    /// into being later. Directories inside of it and files whose name starts with a dot are not
    /// read.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

impl Source for DirectorySource {
    async fn run(self, publisher: Publisher) {
        let Self { directory } = self;
        let mut follower = Follower::new(directory.clone());
        let mut catalog = Catalog::new(directory);
        let mut changes = Changes::default();
        let mut in_step = None;
        while !publisher.is_closed() {
            // Before reading: what changes from here on is reported.
            let blind = follower.attach();
            let read = catalog.read(&changes).await;
            let mut problems: Vec<String> = blind.iter().map(ToString::to_string).collect();
            let snapshot = match read {
                Ok(()) => {
                    in_step = Some(Instant::now());
                    let (snapshot, more) = catalog.snapshot();
                    problems.extend(more);
                    Some(snapshot.into())
                }
                Err(error) => {
                    problems.push(format!("{error}; what it held last stays in force"));
                    None
                }
            };
            let was_read = snapshot.is_some();
            publish(&publisher, snapshot, SourceStatus { in_step, problems });
            changes = follower.changed().await;
            if !was_read {
                changes = changes.among_others();
            }
        }
    }
}

#[cfg(test)]
mod tests;
