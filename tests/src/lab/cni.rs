//! The real plugin, driven through its real interface: environment, standard input, exit status.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::config::Config;
use super::node::Node;
use super::pod::Pod;
use super::result::{Added, CniError};
use super::stack::Stack;
use super::tool::{Finished, Tool};

/// The release build of a binary of this workspace.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("WEIR_BIN_DIR").map_or_else(
        || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            workspace.join("target/x86_64-unknown-linux-musl/release")
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    path.canonicalize()
        .with_context(|| format!("no {name} in {}: run cargo xtask build", folder.display()))
}

/// The plugin on one node with one configuration.
#[derive(Clone, Debug)]
pub struct Cni {
    node: Node,
    program: PathBuf,
    config: Config,
}

impl Cni {
    /// The plugin with `config`, its directories below the node's own.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn new(node: &Node, config: Config) -> Result<Self> {
        let config = config.with_directories_in(node);
        Ok(Self { node: node.clone(), program: binary("weir-cni")?, config })
    }

    /// The same plugin on the same node, with a changed configuration.
    #[must_use]
    pub fn reconfigured(&self, change: impl FnOnce(Config) -> Config) -> Self {
        let config = change(self.config.clone()).with_directories_in(&self.node);
        Self { config, ..self.clone() }
    }

    /// The same node and configuration, with another program that implements CNI.
    #[must_use]
    pub fn with_program(&self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self.clone() }
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The configuration that the plugin gets.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Prepares a call of `verb`.
    #[must_use]
    pub fn call(&self, verb: &str) -> Call {
        let stdin = self.config.json().to_string().into_bytes();
        Call { cni: self.clone(), environment: Vec::new(), stdin }
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", "/opt/cni/bin")
    }

    /// ADD for the pod's `eth0`.
    ///
    /// # Errors
    /// A [`CniError`] when the plugin failed, see [`refused`](super::refused).
    pub fn add(&self, pod: &Pod) -> Result<Added> {
        self.call("ADD").pod(pod).run()?.added()
    }

    /// DEL for the pod's `eth0`, without `prevResult`.
    ///
    /// # Errors
    /// As [`Cni::add`].
    pub fn del(&self, pod: &Pod) -> Result<()> {
        self.call("DEL").pod(pod).run()?.silent()
    }

    /// CHECK of the pod's `eth0` with the result of ADD.
    ///
    /// # Errors
    /// As [`Cni::add`].
    pub fn check(&self, pod: &Pod, added: &Added) -> Result<()> {
        let with_result = self.reconfigured(|config| config.with("prevResult", added.raw.clone()));
        with_result.call("CHECK").pod(pod).run()?.silent()
    }

    /// GC; the `eth0` of these pods are the valid attachments.
    ///
    /// # Errors
    /// As [`Cni::add`].
    pub fn gc(&self, valid: &[&Pod]) -> Result<()> {
        let attachments: Vec<Value> = valid
            .iter()
            .map(|pod| json!({ "containerID": pod.container_id(), "ifname": "eth0" }))
            .collect();
        let with_list =
            self.reconfigured(|config| config.with("cni.dev/valid-attachments", attachments));
        with_list.call("GC").run()?.silent()
    }

    /// STATUS.
    ///
    /// # Errors
    /// As [`Cni::add`].
    pub fn status(&self) -> Result<()> {
        self.call("STATUS").run()?.silent()
    }

    /// VERSION.
    ///
    /// # Errors
    /// As [`Cni::add`].
    pub fn version(&self) -> Result<Value> {
        self.call("VERSION").run()?.document()
    }
}

/// One call of the plugin.
#[derive(Clone, Debug)]
pub struct Call {
    cni: Cni,
    environment: Vec<(String, OsString)>,
    stdin: Vec<u8>,
}

impl Call {
    /// The environment a runtime sets for the `eth0` of this pod.
    #[must_use]
    pub fn pod(self, pod: &Pod) -> Self {
        self.env("CNI_CONTAINERID", pod.container_id())
            .env("CNI_NETNS", pod.netns())
            .env("CNI_IFNAME", "eth0")
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self = self.without(name);
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Leaves a variable out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(set, _)| set != name);
        self
    }

    /// Replaces the configuration by these bytes.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The process that [`Call::run`] would start.
    ///
    /// # Errors
    /// When the node's namespaces have been removed.
    pub fn tool(self) -> Result<Tool> {
        let Self { cni, environment, stdin } = self;
        let mut tool = cni.node.command(&cni.program)?.env_clear().stdin(stdin);
        for (name, value) in environment {
            tool = tool.env(name, value);
        }
        Ok(tool)
    }

    /// Runs the plugin and checks what the specification demands of every call: the exit status is 0
    /// or 1, the output is one JSON document or nothing, and an error is such a document.
    ///
    /// # Errors
    /// When the call violates that. An error that the plugin reports is part of the [`Reply`].
    pub fn run(self) -> Result<Reply> {
        Reply::read(self.tool()?.finish()?)
    }
}

/// The plugin's exit status and output.
#[derive(Debug)]
pub struct Reply {
    outcome: Result<Option<Value>, CniError>,
    /// Its log.
    pub stderr: String,
}

impl Reply {
    fn read(finished: Finished) -> Result<Self> {
        let Finished { status, stdout, stderr } = finished;
        let shown = String::from_utf8_lossy(&stdout).into_owned();
        let described = || format!("{status}, stdout: {shown:?}, stderr: {stderr}");
        ensure!(status.signal().is_none(), "died: {}", described());
        ensure!(!stderr.contains("panicked"), "panicked: {}", described());
        let document: Option<Value> = if shown.trim().is_empty() {
            None
        } else {
            Some(serde_json::from_slice(&stdout).with_context(|| {
                format!("standard output is not one JSON document: {}", described())
            })?)
        };
        let outcome = match (status.code(), document) {
            (Some(0), document) => Ok(document),
            (Some(1), Some(document)) => Err(serde_json::from_value(document)
                .with_context(|| format!("not an error of the specification: {}", described()))?),
            _ => anyhow::bail!("neither success nor an error document: {}", described()),
        };
        Ok(Self { outcome, stderr })
    }

    /// The result of an ADD.
    ///
    /// # Errors
    /// The [`CniError`], or that the document is not a result.
    pub fn added(self) -> Result<Added> {
        Added::parse(self.document()?)
    }

    /// The document it printed.
    ///
    /// # Errors
    /// The [`CniError`], or that it printed nothing.
    pub fn document(self) -> Result<Value> {
        self.outcome?.context("success, but nothing on standard output")
    }

    /// Checks that it succeeded and printed nothing.
    ///
    /// # Errors
    /// The [`CniError`], or that it printed something.
    pub fn silent(self) -> Result<()> {
        match self.outcome? {
            None => Ok(()),
            Some(document) => anyhow::bail!("must print nothing, printed {document}"),
        }
    }
}
