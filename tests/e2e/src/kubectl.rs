//! kubectl, run on the hub as the cluster's administrator, and what its output says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::environment::Environment;
use crate::machine::Machine;
use crate::process;
use crate::state::State;

/// Runs kubectl.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    hub: Machine,
    program: PathBuf,
    config: PathBuf,
    home: PathBuf,
}

/// The administrator's kubeconfig.
pub(crate) fn admin_config(dir: &Path) -> PathBuf {
    dir.join("kubeconfigs/super-admin.conf")
}

impl Kubectl {
    /// kubectl on the hub of a cluster.
    ///
    /// # Errors
    /// When the cluster has no hub, or kubectl is missing.
    pub(crate) fn new(environment: &Environment, state: &State) -> Result<Self> {
        Self::on(environment, &state.hub()?.machine)
    }

    /// kubectl on a hub.
    ///
    /// # Errors
    /// When kubectl is missing.
    pub(crate) fn on(environment: &Environment, hub: &Machine) -> Result<Self> {
        let dir = environment.state()?;
        Ok(Self {
            hub: hub.clone(),
            program: environment.tool("kubectl")?,
            config: admin_config(dir),
            home: dir.join("kubectl-home"),
        })
    }

    /// The command of a call.
    ///
    /// # Errors
    /// When the hub is gone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.hub.command(&self.program)?;
        // Its cache of the cluster's API is removed with the cluster.
        command.env("KUBECONFIG", &self.config).env("HOME", &self.home).args(arguments);
        Ok(command)
    }

    /// Runs kubectl and gives its standard output.
    ///
    /// # Errors
    /// When it fails; the error has its message.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        process::output(&mut self.command(arguments)?)
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.command(&["apply", "-f", "-"])?;
        process::output_with_input(&mut command, manifests).map(drop)
    }

    /// Gets an object, or a list of them.
    ///
    /// # Errors
    /// When kubectl fails.
    pub(crate) fn get(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "-o", "json"], arguments].concat();
        serde_json::from_str(&self.run(&all)?).context("parse the output of kubectl")
    }

    /// Gets the items of a list.
    ///
    /// # Errors
    /// When kubectl fails.
    pub(crate) fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        match self.get(arguments)?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// The subnets of all nodes that have some, by the nodes' names.
    ///
    /// # Errors
    /// When kubectl fails.
    pub(crate) fn pod_cidrs(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let nodes = self.list(&["nodes"])?;
        let subnets = nodes.iter().filter_map(|node| {
            let name = node["metadata"]["name"].as_str()?.to_owned();
            let cidrs = node["spec"]["podCIDRs"].as_array()?;
            Some((name, cidrs.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
        });
        Ok(subnets.collect())
    }
}

/// A condition in an object's status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == kind)
}
