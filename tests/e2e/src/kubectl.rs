//! kubectl, as the cluster's administrator, on the hub.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::environment::Environment;
use crate::place::Place;
use crate::process;
use crate::state::State;

/// Calls of kubectl.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    hub: Place,
    program: PathBuf,
    config: PathBuf,
    home: PathBuf,
}

/// The administrator's kubeconfig.
pub(crate) fn admin_config(dir: &Path) -> PathBuf {
    dir.join("kubeconfigs/super-admin.conf")
}

impl Kubectl {
    /// For a cluster.
    ///
    /// # Errors
    /// When it has no hub, or there is no kubectl.
    pub(crate) fn new(environment: &Environment, state: &State) -> Result<Self> {
        Self::on(environment, &state.hub()?.place)
    }

    /// From a hub.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub(crate) fn on(environment: &Environment, hub: &Place) -> Result<Self> {
        let dir = environment.state()?;
        Ok(Self {
            hub: hub.clone(),
            program: environment.tool("kubectl")?,
            config: admin_config(dir),
            home: dir.join("kubectl-home"),
        })
    }

    /// A call.
    ///
    /// # Errors
    /// When the hub is gone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.hub.command(&self.program)?;
        // What it keeps of the cluster's API goes with the cluster.
        command.env("KUBECONFIG", &self.config).env("HOME", &self.home).args(arguments);
        Ok(command)
    }

    /// Runs it and gives what it prints.
    ///
    /// # Errors
    /// When it fails; the error holds why.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        process::output(&mut self.command(arguments)?)
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.command(&["apply", "-f", "-"])?;
        process::output_of_input(&mut command, manifests).map(drop)
    }

    /// Objects, as the API server has them.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(crate) fn get(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "-o", "json"], arguments].concat();
        serde_json::from_str(&self.run(&all)?).context("read what kubectl printed")
    }

    /// A list of objects.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        match self.get(arguments)?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}
