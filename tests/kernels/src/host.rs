//! The suites on the kernel of this machine.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::guest::Logs;
use crate::suites::Program;
use crate::verdict;

/// What `uname -r` says.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Runs them one after the other, and writes what a guest's init does.
pub(crate) fn run(released: &Path, programs: &[Program], folder: &Path) -> Result<Logs> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join("suites.log");
    let mut log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    for program in programs {
        let Program { suite, file, .. } = program;
        writeln!(log, "{}{}", verdict::RUN, suite.name).context("write the log")?;
        let mut command = Command::new(file);
        command.env("WEIR_BIN_DIR", released).args(program.arguments());
        // Errors say where they come from; a backtrace would push them out of what is shown.
        command.env("RUST_BACKTRACE", "0");
        let (out, err) = (log.try_clone()?, log.try_clone()?);
        let status = command.stdin(Stdio::null()).stdout(out).stderr(err).status();
        let status = status.with_context(|| format!("start {}", file.display()))?;
        let code = status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
        writeln!(log, "{}{} {code}", verdict::END, suite.name).context("write the log")?;
    }
    let suites = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(Logs { suites: String::from_utf8_lossy(&suites).into_owned(), console: String::new() })
}
