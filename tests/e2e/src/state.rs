//! The record of a cluster, in its folder: enough for every other call of this program.
//!
//! It is written before what it tells of is needed, and a cluster ends without it too: `down` goes
//! by the cgroups.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::place::Place;
use crate::process::Process;
use crate::shape::Shape;

const FILE: &str = "cluster.json";

/// A cluster, or what has been made of it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct State {
    /// What was asked for.
    pub(crate) shape: Shape,
    /// Whether `up` got to its end.
    pub(crate) complete: bool,
    /// The machine with the underlay and the control plane.
    pub(crate) hub: Option<Machine>,
    /// The nodes.
    pub(crate) nodes: Vec<Machine>,
}

/// A place, and the programs that were started in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) place: Place,
    /// From 1; the hub has 0.
    pub(crate) number: u8,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) programs: BTreeMap<String, Process>,
}

impl Machine {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.place.name
    }

    /// A program that was started.
    ///
    /// # Errors
    /// When it was not.
    pub(crate) fn program(&self, name: &str) -> Result<Process> {
        let found = self.programs.get(name).copied();
        found.with_context(|| format!("there is no {name} on {}", self.name()))
    }
}

impl State {
    /// The cluster that is up.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn load(environment: &Environment) -> Result<Self> {
        match Self::find(environment)? {
            Some(state) => Ok(state),
            None => bail!("there is no cluster; make one with: cargo xtask e2e up"),
        }
    }

    /// The cluster, if there is one.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub(crate) fn find(environment: &Environment) -> Result<Option<Self>> {
        let path = environment.state()?.join(FILE);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} is not a cluster's record", path.display())),
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn save(&self, environment: &Environment) -> Result<()> {
        let dir = environment.state()?;
        let path = dir.join(FILE);
        let new = dir.join(".cluster.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("write {}", path.display()))
    }

    /// The machine with the control plane.
    ///
    /// # Errors
    /// When `up` did not get that far.
    pub(crate) fn hub(&self) -> Result<&Machine> {
        self.hub.as_ref().context("the cluster has no control plane: down, then up")
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// When there is none; the error has all names.
    pub(crate) fn machine(&self, name: &str) -> Result<&Machine> {
        let all: Vec<_> = self.hub.iter().chain(&self.nodes).collect();
        let names: Vec<_> = all.iter().map(|machine| machine.name()).collect();
        let names = names.join(", ");
        let mut matching = all.into_iter().filter(|machine| machine.name() == name);
        matching.next().with_context(|| format!("there is no machine {name}; there are {names}"))
    }
}

/// Where logs of a machine are.
pub(crate) fn log(dir: &Path, machine: &str, program: &str) -> PathBuf {
    dir.join("logs").join(machine).join(format!("{program}.log"))
}
