//! Running `go`, with progress: by itself it prints nothing for minutes, or each of thousands of
//! packages.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::console;

/// How often progress is shown.
const INTERVAL: Duration = Duration::from_secs(20);

/// A line of what `go build -v` writes to standard error.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// A package that is being compiled.
    Package,
    /// A module that is being fetched.
    Module,
    /// Anything else is for a person: an error.
    Message(&'a str),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        if line.starts_with("go: downloading ") {
            Self::Module
        } else if line.is_empty() || line.contains([' ', ':', '\t']) {
            Self::Message(line)
        } else {
            Self::Package
        }
    }
}

/// Shows and runs a `go … -v …` that compiles, and shows its progress.
pub(super) fn compile(command: &mut Command) -> Result<()> {
    console::echo(command);
    let verb = command.get_args().next().unwrap_or_default().to_owned();
    let mut child =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("start go")?;
    let (mut packages, mut modules, mut shown) = (0, 0, Instant::now());
    let stderr = child.stderr.take().context("go has no standard error")?;
    for line in BufReader::new(stderr).lines() {
        match Line::of(&line.context("read what go writes")?) {
            Line::Package => packages += 1,
            Line::Module => modules += 1,
            Line::Message(message) => console::note(message),
        }
        if shown.elapsed() >= INTERVAL {
            shown = Instant::now();
            console::aside(&format!("{modules} modules fetched, {packages} packages compiled"));
        }
    }
    let status = child.wait().context("wait for go")?;
    if !status.success() {
        bail!("go {} failed: {status}", verb.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_messages_are_told_apart() {
        assert_eq!(Line::of("k8s.io/api/core/v1"), Line::Package);
        assert_eq!(Line::of("go: downloading k8s.io/api v0.36.3"), Line::Module);
        for message in ["# k8s.io/api/core/v1", "types.go:3:1: syntax error", "go: no such tool"] {
            assert_eq!(Line::of(message), Line::Message(message));
        }
    }

    #[test]
    fn a_build_that_fails_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo example.org/a >&2; exit 2"]).current_dir(folder.path());
        let error = compile(&mut command).unwrap_err();
        assert_eq!(error.to_string(), "go -c failed: exit status: 2");
    }
}
