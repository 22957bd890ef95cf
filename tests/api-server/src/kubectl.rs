//! kubectl, run as the cluster's administrator.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::lab::{Node, Stack, Tool};

/// Runs kubectl on the control plane's machine.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub(crate) machine: Node,
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Kubectl {
    /// The command of a call.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn call(&self, arguments: &[&str]) -> Result<Tool> {
        let tool = self.machine.command(&self.program)?.arg("--kubeconfig").arg(&self.kubeconfig);
        // Its cache is removed with the test.
        Ok(tool.env("HOME", self.machine.dir()).deadline(Duration::from_secs(60)).args(arguments))
    }

    /// Runs kubectl and gives its standard output.
    ///
    /// # Errors
    /// When it fails; the error has its message.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.call(arguments)?.stdout()
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn create(&self, object: &Value) -> Result<()> {
        self.call(&["create", "-f", "-"])?.stdin(object.to_string()).stdout().map(drop)
    }

    /// Creates a Node with an address, as a kubelet would.
    ///
    /// # Errors
    /// When a Node of this name exists.
    pub fn create_node(&self, name: &str, address: &str) -> Result<()> {
        self.create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))?;
        self.set_address(name, address)
    }

    /// Changes a Node's address, as its kubelet would.
    ///
    /// # Errors
    /// When there is no such Node.
    pub fn set_address(&self, name: &str, address: &str) -> Result<()> {
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        self.run(&["patch", "node", name, "--subresource=status", "-p", &status.to_string()])
            .map(drop)
    }

    /// Sets a condition of a Node, as a cloud's controller would.
    ///
    /// # Errors
    /// When there is no such Node.
    pub fn set_condition(&self, name: &str, kind: &str, status: &str) -> Result<()> {
        let condition = json!({"type": kind, "status": status, "reason": "NoRouteCreated"});
        let patch = json!({"status": {"conditions": [condition]}});
        self.run(&["patch", "node", name, "--subresource=status", "-p", &patch.to_string()])
            .map(drop)
    }

    /// Gets a Node.
    ///
    /// # Errors
    /// When there is no such Node.
    pub fn node(&self, name: &str) -> Result<Value> {
        let text = self.run(&["get", "node", name, "-o", "json"])?;
        serde_json::from_str(&text).context("parse the output of kubectl")
    }

    /// Gets the objects of a kind, as one list.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn list(&self, kind: &str) -> Result<Value> {
        let text = self.run(&["get", kind, "-o", "json"])?;
        serde_json::from_str(&text).context("parse the output of kubectl")
    }

    /// The subnets of all Nodes that have some, with the Nodes' names.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn pod_cidrs(&self) -> Result<Vec<(String, Vec<String>)>> {
        let list = self.list("nodes")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items
            .filter_map(|node| {
                let cidrs = node["spec"]["podCIDRs"].as_array()?;
                Some((text(&node["metadata"]["name"]), cidrs.iter().map(text).collect()))
            })
            .collect())
    }
}
