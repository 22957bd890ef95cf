//! Waiting for a condition instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Tries `check` until it succeeds.
///
/// # Errors
/// That of the last try, when none succeeds within `deadline`.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        // Asked once more after the deadline: a slow machine must not turn a truth into a failure.
        let late = Instant::now() >= end;
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if late => {
                return Err(error.context(format!("not within {deadline:?}: {what}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Asks `condition` until it holds.
///
/// # Errors
/// When it does not hold within `deadline`, and at once when asking fails.
pub(crate) fn holds(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + deadline;
    loop {
        let late = Instant::now() >= end;
        if condition()? {
            return Ok(());
        }
        if late {
            bail!("not within {deadline:?}: {what}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}
