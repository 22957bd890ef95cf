//! Processes: running a program to its end, and finding a process that outlives this one.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// When it fails; the error has the end of its output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    finish(command, None)
}

/// Runs a program with `input` on its standard input.
///
/// # Errors
/// When it fails; the error has the end of its output.
pub(crate) fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped());
    finish(command, Some(input))
}

fn finish(command: &mut Command, input: Option<&str>) -> Result<String> {
    let name = describe(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that ends before it has read everything reports the reason itself.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {name}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let text = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
        bail!("{name}: {}\n{}", output.status, last_lines(text, 25));
    }
    Ok(stdout)
}

/// The command for an error message, without the programs that enter its namespaces.
fn describe(command: &Command) -> String {
    let all: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let start = all.iter().position(|word| word == "--").map_or(0, |at| at + 1);
    let shown: Vec<_> = all[start..].iter().take(6).map(|word| last_lines(word, 1)).collect();
    shown.join(" ")
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The end of a log, for an error message.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    format!("the end of {}:\n{}", log.display(), last_lines(&text, 15))
}

/// A process that may have been started by an earlier call of this program. Its start time
/// distinguishes it from a later process with the same id.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the boot.
    started: u64,
}

impl Process {
    /// The running process of this id.
    ///
    /// # Errors
    /// When no process has this id.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (_, started) = stat(pid).with_context(|| format!("process {pid} has ended"))?;
        Ok(Self { pid, started })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| started == self.started && state != 'Z')
    }

    /// When it started, since the host's boot, to a hundredth of a second.
    pub(crate) fn started(&self) -> Duration {
        ticks(self.started)
    }

    /// Sends a signal, unless it has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("the process id is too large")?;
        if self.is_alive() {
            kill_process(pid, signal).with_context(|| format!("signal process {}", self.pid))?;
        }
        Ok(())
    }
}

/// A duration in clock ticks, as in `/proc`. There are 100 in a second on all architectures that
/// Weir is built for (proc_pid_stat(5)).
pub(crate) fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 10)
}

/// State and start time in `/proc/PID/stat`.
fn stat(pid: u32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The name is in parentheses and may contain any character.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_read_past_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 2 3";
        assert_eq!(parse_stat(stat), Some(('S', 777)));
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn a_process_whose_id_was_reused_is_not_alive() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
    }

    #[test]
    fn the_error_of_a_failed_program_has_its_output() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]));
        assert!(error.unwrap_err().to_string().ends_with("no such thing"));
        let output = output_with_input(&mut Command::new("cat"), "hello").unwrap();
        assert_eq!(output, "hello");
    }
}
