//! The sources of the state of the cluster: the Kubernetes API, or a directory of manifests.
//!
//! A source publishes whole snapshots on a watch channel: none until it has read everything once,
//! then a new one after each change, never half a list. A slow reader sees the newest snapshot only,
//! which is enough for a level-triggered agent.
//!
//! Both sources decode the same kinds of objects and feed the same `StateAssembler`.

pub mod backoff;
pub mod directory;
mod kinds;
pub mod kube;
pub mod manifest;
mod meta;
mod publication;
mod resource_state;
mod state_assembler;
mod validation;
mod watched_resource;

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

use weir_model::Snapshot;

pub use kinds::node;

/// What a source has published.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The newest snapshot; `None` until the first one is complete.
    pub snapshot: Option<Arc<Snapshot>>,
    /// How the source is doing.
    pub status: SourceStatus,
}

/// How a source is doing, for health, metrics and the log.
#[derive(Debug, Clone, Default)]
pub struct SourceStatus {
    /// When the state was last known to be that of the cluster, or of the directory.
    pub last_synced: Option<Instant>,
    /// The current problems. Each is a line for an operator and names the object, or the file and
    /// line.
    pub problems: Vec<String>,
}

/// The sending end of the channel that a source publishes on.
pub type Publisher = watch::Sender<Published>;

/// A source of cluster state. It runs until the process ends and never gives up: an API server that it
/// cannot reach, or a file that it cannot read, is a problem in its status, and the last good snapshot
/// stays.
pub trait Source {
    /// Follows the cluster and publishes snapshots.
    fn run(self, publisher: Publisher) -> impl Future<Output = ()> + Send;
}
