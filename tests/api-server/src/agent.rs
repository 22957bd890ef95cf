//! The agent of a machine, the real binary.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_tests::lab::Node;

use crate::daemon::Daemon;

/// A running agent, with everything that it writes below a folder of its own.
#[derive(Debug)]
pub struct Agent {
    daemon: Daemon,
}

/// Where an agent learns what the cluster is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Knows<'a> {
    /// From the API server that this kubelet.conf names.
    ApiServer(&'a Path),
    /// From a directory of manifests.
    Manifests(&'a Path),
}

impl Agent {
    pub(crate) fn start(machine: &Node, name: &str, knows: Knows<'_>) -> Result<Self> {
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
        match knows {
            Knows::ApiServer(kubelet_conf) => {
                command.args(["--services", "true"]).arg("--kubelet-conf").arg(kubelet_conf)
            }
            Knows::Manifests(folder) => command.arg("--manifests").arg(folder),
        };
        Ok(Self { daemon: Daemon::start(machine, command, &dir.join("log"))? })
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// How often it has compared everything because nothing else had happened for a while.
    #[must_use]
    pub fn resyncs(&self) -> usize {
        self.log().matches("trigger=Resync").count()
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_running(&self) -> Result<bool> {
        self.daemon.is_running()
    }

    /// Ends it, as an upgrade does.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}
