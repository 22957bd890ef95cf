//! An agent on a machine: the real binary.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_tests::lab::Node;

use crate::daemon::Daemon;

/// A running agent. All its directories are below one folder.
#[derive(Debug)]
pub struct Agent {
    daemon: Daemon,
}

/// The source of an agent's snapshot of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// The API server that this kubelet.conf names.
    ApiServer(&'a Path),
    /// A directory of manifests.
    Manifests(&'a Path),
}

impl Agent {
    pub(crate) fn start(machine: &Node, name: &str, source: Source<'_>) -> Result<Self> {
        let dir = machine.dir().join("agent");
        fs::create_dir_all(&dir)?;
        let program = env::var_os("WEIR_BIN_DIR").map(|dir| PathBuf::from(dir).join("weir-agent"));
        let program =
            program.context("WEIR_BIN_DIR is not set: run this by cargo xtask e2e api")?;
        let mut command = Command::new(program);
        command.args(["--node-name", name, "--log-level", "debug", "--resync-seconds", "2"]);
        for (flag, below) in [
            ("--net-conf", "net-conf.json"),
            ("--cni-bin-dir", "bin"),
            ("--cni-conf-dir", "net.d"),
            ("--run-dir", "run"),
            ("--data-dir", "networks"),
            ("--pin-dir", "bpf"),
        ] {
            command.arg(flag).arg(dir.join(below));
        }
        match source {
            Source::ApiServer(kubelet_conf) => {
                command.args(["--services", "true"]).arg("--kubelet-conf").arg(kubelet_conf)
            }
            Source::Manifests(folder) => command.arg("--manifests").arg(folder),
        };
        Ok(Self { daemon: Daemon::start(machine, command, &dir.join("log"))? })
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The number of its periodic passes, which no change triggered.
    #[must_use]
    pub fn resyncs(&self) -> usize {
        self.log().matches("trigger=Resync").count()
    }

    /// Whether it is running.
    ///
    /// # Errors
    /// When poll(2) fails.
    pub fn is_running(&self) -> Result<bool> {
        self.daemon.is_running()
    }

    /// Ends it with SIGTERM, as an upgrade does.
    ///
    /// # Errors
    /// When it must be killed.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}
