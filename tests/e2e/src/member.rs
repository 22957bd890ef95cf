//! A member of the cluster: the hub or a node, with the programs that run on it.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::machine::Machine;
use crate::process::Process;

/// A machine with its addresses, and the programs that were started on it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Member {
    pub(crate) machine: Machine,
    /// From 1; the hub has 0.
    pub(crate) number: u8,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) programs: BTreeMap<String, Process>,
}

impl Member {
    /// The name of its machine, which is also that of its Node object.
    pub(crate) fn name(&self) -> &str {
        &self.machine.name
    }

    /// The process of a program that was started here.
    ///
    /// # Errors
    /// When it was not started.
    pub(crate) fn program(&self, name: &str) -> Result<Process> {
        let found = self.programs.get(name).copied();
        found.with_context(|| format!("there is no {name} on {}", self.name()))
    }

    /// Starts a program that outlives this one, and records its process under `name`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn launch(
        &mut self,
        environment: &Environment,
        name: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<Process> {
        let log = self.log(environment, name)?;
        let mut command = self.machine.command(program)?;
        let process = Machine::start(command.args(arguments), &log)?;
        self.programs.insert(name.to_owned(), process);
        Ok(process)
    }

    /// The log of a program of this member.
    ///
    /// # Errors
    /// When the cluster has no folder.
    pub(crate) fn log(&self, environment: &Environment, program: &str) -> Result<PathBuf> {
        Ok(environment.state()?.join("logs").join(self.name()).join(format!("{program}.log")))
    }

    /// Writes a file as this member sees it.
    ///
    /// # Errors
    /// When the file or its folder cannot be written.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.machine.path_from_outside(path);
        let folder = file.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, text))
            .with_context(|| format!("write {path} of {}", self.name()))
    }
}
