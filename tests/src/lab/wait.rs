//! Waiting for a condition instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two checks of this machine's own kernel, which cost next to nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// Longer than anything that is waited for takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Calls `check` until it gives a value, with `pause` between two calls.
///
/// # Errors
/// When it gives none within `deadline`, and at once when it fails.
pub fn poll<T>(
    what: &str,
    deadline: Duration,
    pause: Duration,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        // Checked once more after the deadline: a slow machine must not turn a success into a
        // failure.
        let late = Instant::now() >= end;
        if let Some(value) = check()? {
            return Ok(value);
        }
        if late {
            bail!("not within {deadline:?}: {what}");
        }
        thread::sleep(pause);
    }
}

/// Calls `check` until it succeeds, with `pause` between two calls.
///
/// # Errors
/// That of the last call, when none succeeds within `deadline`.
pub fn retry<T>(
    what: &str,
    deadline: Duration,
    pause: Duration,
    mut check: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut last = None;
    let polled = poll(what, deadline, pause, || match check() {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            last = Some(error);
            Ok(None)
        }
    });
    polled.map_err(|late| match last {
        Some(error) => error.context(late.to_string()),
        None => late,
    })
}

/// Calls `condition` until it holds.
///
/// # Errors
/// When it does not hold within `deadline`, and at once when `condition` fails.
pub fn eventually(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    poll(what, deadline, PAUSE, || Ok(condition()?.then_some(())))
}

/// Calls `check` until it succeeds.
///
/// # Errors
/// That of the last call, when none succeeds in time.
pub fn until(what: &str, check: impl FnMut() -> Result<()>) -> Result<()> {
    retry(what, TIMEOUT, PAUSE, check)
}
