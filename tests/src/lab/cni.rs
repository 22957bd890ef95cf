//! The real plugin, driven through its real interface: environment, standard input, exit status.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::config::Config;
use super::namespaces::Stack;
use super::node::Node;
use super::pod::Pod;
use super::result::{Added, CniError};
use super::tool::{Finished, Tool};

/// A released binary of this workspace, by name.
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
        let config = config.placed_in(node);
        Ok(Self { node: node.clone(), program: binary("weir-cni")?, config })
    }

    /// The same on the same node, with the configuration changed.
    #[must_use]
    pub fn reconfigured(&self, change: impl FnOnce(Config) -> Config) -> Self {
        let config = change(self.config.clone()).placed_in(&self.node);
        Self { config, ..self.clone() }
    }

    /// The same, but the process is another program that speaks the same protocol.
    #[must_use]
    pub fn with_program(&self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self.clone() }
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The configuration it gets.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A call of `verb` that a test may bend before running it.
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
    /// A [`CniError`] when the plugin refused, see [`refused`](super::refused).
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

    /// CHECK of the pod's `eth0` against what ADD answered.
    ///
    /// # Errors
    /// As [`Cni::add`].
    pub fn check(&self, pod: &Pod, added: &Added) -> Result<()> {
        let with_result = self.reconfigured(|config| config.with("prevResult", added.raw.clone()));
        with_result.call("CHECK").pod(pod).run()?.silent()
    }

    /// GC of everything but the `eth0` of these pods.
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
    /// Never with a node that lives.
    pub fn tool(self) -> Result<Tool> {
        let Self { cni, environment, stdin } = self;
        let mut tool = cni.node.command(&cni.program)?.env_clear().stdin(stdin);
        for (name, value) in environment {
            tool = tool.env(name, value);
        }
        Ok(tool)
    }

    /// Runs it and holds it to what the specification says about every call: it exits with 0 or 1,
    /// prints one JSON document or nothing, and an error is such a document.
    ///
    /// # Errors
    /// When it did not keep to that. That it refused is no error here.
    pub fn run(self) -> Result<Reply> {
        Reply::read(self.tool()?.finish()?)
    }
}

/// What the process answered.
#[derive(Debug)]
pub struct Reply {
    outcome: Result<Option<Value>, CniError>,
    /// What it logged.
    pub stderr: String,
}

impl Reply {
    fn read(finished: Finished) -> Result<Self> {
        let Finished { status, stdout, stderr } = finished;
        let shown = String::from_utf8_lossy(&stdout).into_owned();
        let told = || format!("{status}, stdout: {shown:?}, stderr: {stderr}");
        ensure!(status.signal().is_none(), "died: {}", told());
        ensure!(!stderr.contains("panicked"), "panicked: {}", told());
        let document: Option<Value> =
            if shown.trim().is_empty() {
                None
            } else {
                Some(serde_json::from_slice(&stdout).with_context(|| {
                    format!("standard output is not one JSON document: {}", told())
                })?)
            };
        let outcome = match (status.code(), document) {
            (Some(0), document) => Ok(document),
            (Some(1), Some(document)) => Err(serde_json::from_value(document)
                .with_context(|| format!("not an error of the specification: {}", told()))?),
            _ => anyhow::bail!("neither success nor an error document: {}", told()),
        };
        Ok(Self { outcome, stderr })
    }

    /// The result of an ADD.
    ///
    /// # Errors
    /// The [`CniError`], or that the document is no result.
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

    /// That it succeeded and printed nothing.
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
