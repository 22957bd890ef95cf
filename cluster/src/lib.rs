//! Where the state of the cluster comes from.
//!
//! A source publishes whole snapshots on a watch channel: nothing until it has seen everything once,
//! then a new snapshot whenever something changed, never half a list. Readers that are slow see the
//! newest snapshot only; what came between does not matter to a level-triggered agent.

pub mod backoff;
pub mod directory;
pub mod kube;
pub mod manifest;
mod meta;
pub mod node;
mod publication;
mod service;
mod slice;
mod wrong;

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

use weir_model::Snapshot;

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
    /// When the source was last known to be in step with what it reads.
    pub in_step: Option<Instant>,
    /// What is wrong now; empty if nothing is. Each is a line for an operator and names the object,
    /// or the file and line.
    pub problems: Vec<String>,
}

/// The end that a source publishes on.
pub type Publisher = watch::Sender<Published>;

/// A source of cluster state. It runs until the process ends, and never gives up: what it cannot
/// reach or read is a problem in its status, and the last good snapshot stays.
pub trait Source {
    /// Follows the cluster and publishes snapshots.
    fn run(self, publisher: Publisher) -> impl Future<Output = ()> + Send;
}
