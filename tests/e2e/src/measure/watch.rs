//! Watches of an object, with the time at which each event arrived.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::kubectl::Kubectl;

/// The time since the host's boot: the clock of a process's start time.
pub(super) fn now() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}

/// A watch of a field of one object, so that a change is seen at once, without polling.
#[derive(Debug)]
pub(super) struct Watch {
    kubectl: Child,
    values: Receiver<(Duration, String)>,
}

impl Watch {
    /// Starts the watch.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub(super) fn start(kubectl: &Kubectl, object: &[&str], field: &str) -> Result<Self> {
        let output = format!("jsonpath={field}{{\"\\n\"}}");
        let arguments = [&["get", "--watch", "-o", &output], object].concat();
        let mut command = kubectl.command(&arguments)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut kubectl = command.spawn().context("start kubectl")?;
        let (send, values) = mpsc::channel();
        let lines = BufReader::new(kubectl.stdout.take().context("no output")?).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if send.send((now(), line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { kubectl, values })
    }

    /// Waits for a value, and gives it with the time at which it arrived.
    ///
    /// # Errors
    /// When it does not arrive within `deadline`.
    pub(super) fn first<T>(
        &self,
        deadline: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<(Duration, T)> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (when, value) =
                self.values.recv_timeout(left).context("the value did not arrive")?;
            if let Some(value) = wanted(&value) {
                return Ok((when, value));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn a_process_start_time_is_on_the_same_clock() {
        let mut child = std::process::Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let started = Process::of(child.id()).unwrap().started();
        let passed = now().checked_sub(started);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(passed.is_some_and(|passed| passed < Duration::from_secs(60)), "{passed:?}");
    }
}
