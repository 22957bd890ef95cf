//! Progress on standard error: each step and its duration.

use std::env;
use std::io::{self, IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Runs a step and prints its title and duration.
///
/// # Errors
/// That of the step; it names the step.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    eprint!("{} {title} ... ", styled("==>", "1;32"));
    let result = work();
    let took = seconds(start.elapsed());
    match &result {
        Ok(_) => eprintln!("{}", styled(&took, "2")),
        Err(_) => eprintln!("{}", styled(&format!("failed after {took}"), "1;31")),
    }
    result.with_context(|| format!("step '{title}' failed"))
}

/// Prints a line below a step.
pub(crate) fn note(line: &str) {
    eprintln!("    {line}");
}

/// Prints the result of a task on standard output.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn result(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{}", text.trim_end()).context("write the result")
}

/// A duration in seconds, for people.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn styled(text: &str, code: &str) -> String {
    let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && stderr().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
