//! Places: a machine of the cluster, as far as the kernel is concerned. Its network, mounts, name
//! and cgroups are its own; process ids are those of the machine.
//!
//! A place lives as long as its *anchor*, a process that sleeps in the namespaces. Every other
//! process of the place first enters its cgroups and then the anchor's namespaces. What it starts is
//! in the cgroups too, so that a place ends whole, and nothing is ended by its name.

pub(crate) mod cgroup;
pub(crate) mod inotify;
mod mounts;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub(crate) use mounts::{Boot, mount};

use crate::process::{self, Process};

/// Enters the cgroups whose `cgroup.procs` are listed first, then becomes the rest.
const ENTER: &str = r#"for file in $0; do echo $$ >"$file"; done; exec "$@""#;
/// Says that the namespaces are there, and stays.
const STAY: &str = "echo ready; exec sleep infinity";

/// A place that exists.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Place {
    /// Its name: that of its cgroups, too.
    pub(crate) name: String,
    /// The process that holds its namespaces.
    pub(crate) anchor: Process,
}

impl Place {
    /// Makes a place with new namespaces, in which nothing is mounted or configured yet.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    pub(crate) fn create(name: &str) -> Result<Self> {
        cgroup::create(name)?;
        let mut anchor = entering(name)?;
        anchor
            .args(["unshare", "--net", "--mount", "--uts", "--cgroup"])
            .args(["--propagation", "private", "--", "sh", "-c", STAY])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It outlives this program: who reads this program's output is not to wait for it.
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = anchor.spawn().context("start the anchor")?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready).context("read from the anchor")?;
        }
        ensure!(ready.trim() == "ready", "the namespaces of {name} could not be made");
        let place = Self { name: name.to_owned(), anchor: Process::of(child.id())? };
        place.run("ip link set lo up")?;
        Ok(place)
    }

    /// A program inside.
    ///
    /// # Errors
    /// When the place is gone.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        ensure!(self.anchor.is_alive(), "{} is gone", self.name);
        let mut command = entering(&self.name)?;
        command.args(["nsenter", "--target", &self.anchor.pid.to_string()]);
        command.args(["--mount", "--uts", "--net", "--cgroup", "--"]).arg(program);
        Ok(command)
    }

    /// Runs a few lines of shell inside and gives what they print.
    ///
    /// # Errors
    /// When one fails.
    pub(crate) fn run(&self, lines: &str) -> Result<String> {
        process::output(self.command("sh")?.args(["-ec", lines]))
            .with_context(|| format!("on {}", self.name))
    }

    /// Starts a program that stays when this one ends. `command` comes from [`Self::command`]; what
    /// it prints goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let folder = log.parent().context("a log is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A key pressed in the terminal is not for it.
        command.process_group(0);
        Process::of(command.spawn().context("start it")?.id())
    }

    /// A path inside, as it can be read from outside.
    pub(crate) fn view(&self, path: &str) -> PathBuf {
        let root = Path::new("/proc").join(self.anchor.pid.to_string()).join("root");
        root.join(path.trim_start_matches('/'))
    }
}

/// A command that enters the place's cgroups.
fn entering(name: &str) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", ENTER, &cgroup::entrances(name)?]);
    Ok(command)
}
