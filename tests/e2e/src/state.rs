//! The record of a cluster, in its folder: enough for every other call of this program.
//!
//! It is written before anything that needs it is made. A cluster can be ended without the record:
//! `down` finds it by its cgroups.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::member::Member;
use crate::spec::ClusterSpec;

const FILE: &str = "cluster.json";

/// A cluster, or the part of it that has been made.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct State {
    /// What was asked for.
    pub(crate) spec: ClusterSpec,
    /// Whether `up` succeeded.
    pub(crate) complete: bool,
    /// The member with the underlay and the control plane.
    pub(crate) hub: Option<Member>,
    /// The nodes.
    pub(crate) nodes: Vec<Member>,
}

impl State {
    /// The cluster that is up.
    ///
    /// # Errors
    /// When no cluster is up.
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

    /// Writes the record.
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

    /// The member with the control plane.
    ///
    /// # Errors
    /// When `up` failed before it made one.
    pub(crate) fn hub(&self) -> Result<&Member> {
        self.hub.as_ref().context("the cluster has no control plane: down, then up")
    }

    /// The member of this name.
    ///
    /// # Errors
    /// When there is none; the error lists all names.
    pub(crate) fn member(&self, name: &str) -> Result<&Member> {
        let all: Vec<_> = self.hub.iter().chain(&self.nodes).collect();
        let names: Vec<_> = all.iter().map(|member| member.name()).collect();
        let names = names.join(", ");
        let mut matching = all.into_iter().filter(|member| member.name() == name);
        matching.next().with_context(|| format!("there is no machine {name}; there are {names}"))
    }
}
