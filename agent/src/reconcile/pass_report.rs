//! The result of a pass.

use std::collections::BTreeMap;

/// What a pass did, for health and the log.
#[derive(Debug, Default)]
pub(super) struct PassReport {
    pub(super) peers_known: usize,
    pub(super) peers_programmed: usize,
    pub(super) operations: BTreeMap<&'static str, u64>,
}

impl PassReport {
    pub(super) fn add(&mut self, operations: BTreeMap<&'static str, u64>) {
        for (kind, count) in operations {
            *self.operations.entry(kind).or_default() += count;
        }
    }
}

/// How a pass ended.
pub(super) enum Outcome {
    /// The kernel is as desired.
    Succeeded,
    /// Something failed and is tried again.
    Failed,
    /// The pass stopped for a new snapshot.
    Preempted,
}
