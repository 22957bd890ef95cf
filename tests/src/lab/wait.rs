//! Waiting for a condition instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls `condition` until it holds.
///
/// # Errors
/// When it does not hold within `deadline`, and at once when `condition` fails.
pub fn eventually(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + deadline;
    loop {
        // One more check after the deadline, because a slow machine may be late.
        let late = Instant::now() >= end;
        if condition()? {
            return Ok(());
        }
        if late {
            bail!("not within {deadline:?}: {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Longer than any condition of a test takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Tries `check` until it succeeds.
///
/// # Errors
/// The error of the last try, when none succeeds in time.
pub fn until(what: &str, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let mut last = None;
    eventually(what, DEADLINE, || {
        last = check().err();
        Ok(last.is_none())
    })
    .map_err(|late| match last.take() {
        Some(error) => error.context(late.to_string()),
        None => late,
    })
}
