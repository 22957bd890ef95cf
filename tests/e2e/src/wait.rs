//! Waiting for a condition of the cluster: the lab's loops, slow enough for checks that start a
//! kubectl or a ctr, which take a processor from the cluster.

use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::{poll, retry};

/// Calls `check` until it succeeds.
///
/// # Errors
/// That of the last call, when none succeeds within `deadline`.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    check: impl FnMut() -> Result<T>,
) -> Result<T> {
    retry(what, deadline, Duration::from_millis(100), check)
}

/// Calls `condition` until it holds.
///
/// # Errors
/// When it does not hold within `deadline`, and at once when `condition` fails.
pub(crate) fn holds(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    poll(what, deadline, Duration::from_millis(50), || Ok(condition()?.then_some(())))
}
