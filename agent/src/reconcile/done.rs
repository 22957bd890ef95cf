//! What came of a pass.

use std::collections::BTreeMap;

/// What a pass did, for health and the log.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) peers_known: usize,
    pub(super) peers_programmed: usize,
    pub(super) operations: BTreeMap<&'static str, u64>,
}

impl Done {
    pub(super) fn add(&mut self, operations: BTreeMap<&'static str, u64>) {
        for (kind, count) in operations {
            *self.operations.entry(kind).or_default() += count;
        }
    }
}

/// How a pass ended.
pub(super) enum Ending {
    /// All is as it should be.
    Succeeded,
    /// Something is not, and is tried again.
    Failed,
    /// It was given up for something that does not wait.
    MadeWay,
}
