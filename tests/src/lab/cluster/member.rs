//! A node of a cluster, with its agent.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::agent::Agent;
use super::attached_pod::AttachedPod;
use super::entries::{Entries, TUNNEL};
use super::health::{self, HttpResponse};
use super::manifest::NodeManifest;
use super::settings::Settings;
use crate::lab::cgroup;
use crate::lab::cni::{Cni, binary};
use crate::lab::config::Config;
use crate::lab::namespaces::Namespaces;
use crate::lab::node::Node;
use crate::lab::observe::Observe;
use crate::lab::stack::Stack;
use crate::lab::wait::until;

/// A node of the cluster.
#[derive(Debug)]
pub struct Member {
    // Fields are dropped in order: the agent ends before the node's namespaces are freed.
    agent: Mutex<Option<Agent>>,
    node: Node,
    number: u8,
    manifest: NodeManifest,
    settings: Settings,
    manifests: PathBuf,
}

impl Member {
    pub(super) fn new(
        node: Node,
        number: u8,
        manifest: NodeManifest,
        settings: &Settings,
        manifests: &Path,
    ) -> Result<Self> {
        let dir = node.dir();
        fs::write(dir.join("net-conf.json"), settings.net_conf().to_string())
            .context("write the agent's configuration")?;
        node.mount_bpffs(&dir.join("bpf"))?;
        let (settings, manifests) = (settings.clone(), manifests.to_owned());
        Ok(Self { agent: Mutex::new(None), node, number, manifest, settings, manifests })
    }

    /// Its number in the cluster, beginning with 1.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.manifest.name()
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Node {
        &self.node
    }

    /// The Node object that the cluster was created with.
    #[must_use]
    pub fn manifest(&self) -> &NodeManifest {
        &self.manifest
    }

    /// Its first address on the underlay.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self) -> Result<IpAddr> {
        self.manifest.addresses().first().copied().context("a node without an address")
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When it is running already, or cannot be started.
    pub fn start_agent(&self) -> Result<()> {
        self.start_agent_with(&[])
    }

    /// Starts the agent with more flags.
    ///
    /// # Errors
    /// As [`Member::start_agent`].
    pub fn start_agent_with(&self, more: &[&str]) -> Result<()> {
        let mut agent = self.agent();
        ensure!(agent.is_none(), "the agent of {} is running already", self.name());
        let mut flags = self.settings.agent_flags(self.name(), self.node.dir(), &self.manifests);
        let plugin = binary("weir-cni")?.to_string_lossy().into_owned();
        flags.extend(["--cni-binary".to_owned(), plugin]);
        let cgroup = cgroup::own()?.to_string_lossy().into_owned();
        flags.extend(["--cgroup".to_owned(), cgroup]);
        flags.extend(more.iter().map(|&flag| flag.to_owned()));
        *agent = Some(Agent::start(&self.node, &binary("weir-agent")?, flags, self.log_file())?);
        Ok(())
    }

    /// Ends the agent with `signal` and waits for its end.
    ///
    /// # Errors
    /// When it is not running.
    pub fn end_agent(&self, signal: Signal) -> Result<()> {
        let agent = self.agent().take();
        let agent = agent.with_context(|| format!("no agent is running on {}", self.name()))?;
        agent.end(signal).map(drop)
    }

    /// Kills the agent as `kill -9` does.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_agent(&self) -> Result<()> {
        self.end_agent(Signal::KILL)
    }

    /// Runs `work` while the agent is paused by SIGSTOP.
    ///
    /// # Errors
    /// What `work` returned, or that no agent is running.
    pub fn while_agent_paused<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let agent = self.agent();
        let agent =
            agent.as_ref().with_context(|| format!("no agent is running on {}", self.name()))?;
        agent.signal(Signal::STOP)?;
        let result = work();
        agent.signal(Signal::CONT)?;
        result
    }

    /// The agent's process ID.
    ///
    /// # Errors
    /// When it is not running.
    pub fn agent_pid(&self) -> Result<u32> {
        let agent = self.agent();
        Ok(agent.as_ref().with_context(|| format!("no agent is running on {}", self.name()))?.pid())
    }

    /// `GET path` of the agent.
    ///
    /// # Errors
    /// When it does not respond.
    pub fn get(&self, path: &str) -> Result<HttpResponse> {
        health::get(self, path)
    }

    /// Checks that the agent is running and reports that it is ready.
    ///
    /// # Errors
    /// When it is not ready; the error has the reason.
    pub fn ready(&self) -> Result<()> {
        if let Some(agent) = &*self.agent() {
            ensure!(agent.is_running()?, "the agent of {} has ended", self.name());
        }
        self.get("/readyz")?.ok()
    }

    /// The agent's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_else(|error| error.to_string())
    }

    /// The network configuration that the agent has written for runtimes.
    #[must_use]
    pub fn conflist(&self) -> PathBuf {
        self.node.dir().join("net.d/10-weir.conflist")
    }

    /// The agent's run directory.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.node.dir().join("run")
    }

    /// Where programs and maps are pinned.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        self.node.dir().join("bpf/weir")
    }

    /// Where a program is pinned, whose name there ends with the version of the maps' layouts.
    ///
    /// # Errors
    /// When it is not.
    pub fn program_pin(&self, name: &str) -> Result<PathBuf> {
        let folder = self.pin_dir().join("programs");
        let prefix = format!("{name}-");
        self.node.run(|| {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    return Ok(entry.path());
                }
            }
            anyhow::bail!("the program {name} is not pinned")
        })
    }

    /// The plugin that the agent installed, with the configuration that it wrote.
    ///
    /// # Errors
    /// When either is missing.
    pub fn cni(&self) -> Result<Cni> {
        let path = self.conflist();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let list = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        let cni = Cni::new(&self.node, Config::from_list(&list)?)?;
        Ok(cni.with_program(self.node.dir().join("bin/weir-cni")))
    }

    /// Creates a pod and attaches it to the network.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn pod(&self, name: &str) -> Result<AttachedPod> {
        self.pod_in("default", name)
    }

    /// Creates a pod of this namespace and attaches it to the network.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn pod_in(&self, namespace: &str, name: &str) -> Result<AttachedPod> {
        AttachedPod::new(self.cni()?, self.node.pod(name)?, namespace)
    }

    /// Waits until the node has the entries for these peers and for no others.
    ///
    /// # Errors
    /// When the deadline passes; the error has the difference.
    pub fn wait_for_peers<'a>(
        &self,
        peers: impl IntoIterator<Item = &'a NodeManifest>,
    ) -> Result<()> {
        let peers: Vec<_> = peers.into_iter().collect();
        let what = format!("{} has the entries for its peers only", self.name());
        until(&what, || self.check_peers(peers.iter().copied()))
    }

    /// Checks that the node has the entries for these peers and for no others.
    ///
    /// # Errors
    /// When it does not; the error has the difference.
    pub fn check_peers<'a>(&self, peers: impl IntoIterator<Item = &'a NodeManifest>) -> Result<()> {
        let found = Entries::of(self)?;
        let peers: Vec<_> = peers.into_iter().collect();
        let mut macs = BTreeMap::new();
        for peer in &peers {
            macs.extend(found.mac_of(peer).map(|mac| (peer.name().to_owned(), mac)));
        }
        let own = self.uplink_addresses()?;
        let expected = Entries::expected(self.settings.mode, &own, &peers, &macs)?;
        let difference = found.difference(&expected);
        ensure!(difference.is_empty(), "{difference:#?}");
        Ok(())
    }

    /// The MAC address of the node's tunnel device.
    ///
    /// # Errors
    /// When there is no tunnel.
    pub fn tunnel_mac(&self) -> Result<String> {
        self.link(TUNNEL)?.mac.context("a tunnel without a MAC address")
    }

    /// The uplink's addresses; empty while it is missing.
    fn uplink_addresses(&self) -> Result<Vec<IpAddr>> {
        let uplink = self.find_link("uplink")?;
        let addresses = uplink.map(|link| link.addresses).unwrap_or_default();
        let global = addresses.into_iter().filter(|address| address.scope == "global");
        Ok(global.map(|address| address.local).collect())
    }

    fn log_file(&self) -> PathBuf {
        self.node.dir().join("agent.log")
    }

    fn agent(&self) -> MutexGuard<'_, Option<Agent>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stack for Member {
    fn namespaces(&self) -> Result<&Namespaces> {
        self.node.namespaces()
    }
}
