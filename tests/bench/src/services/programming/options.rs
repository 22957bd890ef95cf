//! How much is measured for each size.

use std::time::Duration;

/// The numbers of samples, and the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgrammingOptions {
    /// Starts of the agent.
    pub(crate) starts: u32,
    /// Changes of an endpoint, one at a time.
    pub(crate) changes: u32,
    /// The time for which many endpoints change.
    pub(crate) churn: Duration,
    /// For the maps to hold all Services.
    pub(crate) timeout: Duration,
    /// The processor that reads the maps; the agent runs on others.
    pub(crate) cpu: usize,
}
