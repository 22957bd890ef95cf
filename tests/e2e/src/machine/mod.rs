//! A machine of the cluster: namespaces and cgroups on this host. It has its own network, mounts,
//! host name and cgroups. Process ids are those of the host.
//!
//! A machine lives as long as its *anchor*, a process that sleeps in the namespaces. Every other
//! process of the machine first enters the cgroups and then the anchor's namespaces. Its children
//! are in the cgroups too: a machine ends as a whole, and no process is looked up by its name.

pub(crate) mod cgroup;
pub(crate) mod inotify;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::process::{self, Process};

/// Enters the cgroups whose `cgroup.procs` are listed in `$0`, then executes the other arguments.
const ENTER: &str = r#"for file in $0; do echo $$ >"$file"; done; exec "$@""#;
/// Reports that the namespaces exist, and keeps them.
const ANCHOR: &str = "echo ready; exec sleep infinity";

/// A machine that has been made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    /// Its host name, which is also the name of its cgroups.
    pub(crate) name: String,
    /// The process that holds its namespaces.
    pub(crate) anchor: Process,
}

impl Machine {
    /// Makes a machine with new namespaces, in which nothing is mounted or configured yet.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    pub(crate) fn create(name: &str) -> Result<Self> {
        cgroup::create(name)?;
        let mut anchor = entering(name)?;
        anchor
            .args(["unshare", "--net", "--mount", "--uts", "--cgroup"])
            .args(["--propagation", "private", "--", "sh", "-c", ANCHOR])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It outlives this program, and a reader of standard error must not wait for it.
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = anchor.spawn().context("start the anchor")?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready).context("read from the anchor")?;
        }
        ensure!(ready.trim() == "ready", "the namespaces of {name} could not be made");
        let machine = Self { name: name.to_owned(), anchor: Process::of(child.id())? };
        machine.run("ip link set lo up")?;
        Ok(machine)
    }

    /// A command that runs a program on the machine.
    ///
    /// # Errors
    /// When the machine is gone.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        ensure!(self.anchor.is_alive(), "{} is gone", self.name);
        let mut command = entering(&self.name)?;
        command.args(["nsenter", "--target", &self.anchor.pid.to_string()]);
        command.args(["--mount", "--uts", "--net", "--cgroup", "--"]).arg(program);
        Ok(command)
    }

    /// Runs a few lines of shell on the machine and gives what they print.
    ///
    /// # Errors
    /// When a line fails.
    pub(crate) fn run(&self, lines: &str) -> Result<String> {
        process::output(self.command("sh")?.args(["-ec", lines]))
            .with_context(|| format!("on {}", self.name))
    }

    /// Starts a program that outlives this one. `command` comes from [`Self::command`]; what
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
        // Its own process group: Ctrl-C in the terminal must not end it.
        command.process_group(0);
        Process::of(command.spawn().context("start the program")?.id())
    }

    /// A path of the machine, as this program reads it from outside of the mount namespace.
    pub(crate) fn path_from_outside(&self, path: &str) -> PathBuf {
        let root = Path::new("/proc").join(self.anchor.pid.to_string()).join("root");
        root.join(path.trim_start_matches('/'))
    }
}

/// A command that enters the machine's cgroups.
fn entering(name: &str) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", ENTER, &cgroup::procs_files(name)?]);
    Ok(command)
}
