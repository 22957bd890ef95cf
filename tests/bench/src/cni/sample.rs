//! A measured call of a plugin.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A call of a plugin, ready to be started.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) stdin: Vec<u8>,
}

/// The duration and the output of a call.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) took: Duration,
    pub(crate) stdout: Vec<u8>,
}

impl Job {
    /// Starts the plugin in the namespaces of the calling thread, and waits for its end.
    pub(crate) fn run(&self) -> Result<Sample> {
        let mut command = self.command();
        let mut stdout = Vec::with_capacity(4096);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| self.describe())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&self.stdin).context("write the plugin's configuration")?;
        }
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut stdout).context("read the plugin's output")?;
        }
        let status = child.wait().context("wait for the plugin")?;
        let took = started.elapsed();
        ensure!(
            status.success(),
            "{}: {status}: {}",
            self.describe(),
            String::from_utf8_lossy(&stdout)
        );
        Ok(Sample { took, stdout })
    }

    /// The process, not yet started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn describe(&self) -> String {
        let set = |name: &str| {
            let found = self.environment.iter().find(|(variable, _)| variable == name);
            found.map_or_else(String::new, |(_, value)| value.to_string_lossy().into_owned())
        };
        let program = self.program.display();
        format!("{program} {} {}", set("CNI_COMMAND"), set("CNI_CONTAINERID"))
    }
}
