//! A node of a cluster, with its agent.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::agent::Agent;
use super::attached::Attached;
use super::entries::{Entries, TUNNEL};
use super::health::{self, Answer};
use super::manifest::NodeManifest;
use super::settings::Settings;
use crate::lab::cgroup;
use crate::lab::cni::{Cni, binary};
use crate::lab::config::Config;
use crate::lab::namespaces::{Namespaces, Stack};
use crate::lab::node::Node;
use crate::lab::observe::Observe;
use crate::lab::wait::until;

/// A machine of the cluster.
#[derive(Debug)]
pub struct Member {
    // The agent ends before the node's namespaces go.
    agent: Mutex<Option<Agent>>,
    node: Node,
    number: u8,
    manifest: NodeManifest,
    settings: Settings,
    world: PathBuf,
}

impl Member {
    pub(super) fn new(
        node: Node,
        number: u8,
        manifest: NodeManifest,
        settings: &Settings,
        world: &Path,
    ) -> Result<Self> {
        let dir = node.dir();
        fs::write(dir.join("net-conf.json"), settings.net_conf().to_string())
            .context("write the agent's configuration")?;
        node.mount_bpffs(&dir.join("bpf"))?;
        let (settings, world) = (settings.clone(), world.to_owned());
        Ok(Self { agent: Mutex::new(None), node, number, manifest, settings, world })
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

    /// What the world says about it, unless a test changed that.
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
    /// When it runs already, or cannot be started.
    pub fn start_agent(&self) -> Result<()> {
        self.start_agent_with(&[])
    }

    /// Starts the agent with more flags.
    ///
    /// # Errors
    /// As [`Member::start_agent`].
    pub fn start_agent_with(&self, more: &[&str]) -> Result<()> {
        let mut agent = self.agent();
        ensure!(agent.is_none(), "the agent of {} runs already", self.name());
        let mut flags = self.settings.agent_flags(self.name(), self.node.dir(), &self.world);
        let plugin = binary("weir-cni")?.to_string_lossy().into_owned();
        flags.extend(["--cni-binary".to_owned(), plugin]);
        let cgroup = cgroup::own()?.to_string_lossy().into_owned();
        flags.extend(["--cgroup".to_owned(), cgroup]);
        flags.extend(more.iter().map(|&flag| flag.to_owned()));
        *agent = Some(Agent::start(&self.node, &binary("weir-agent")?, flags, self.log_file())?);
        Ok(())
    }

    /// Ends the agent with `signal` and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn end_agent(&self, signal: Signal) -> Result<()> {
        let agent = self.agent().take();
        let agent = agent.with_context(|| format!("no agent runs on {}", self.name()))?;
        agent.end(signal).map(drop)
    }

    /// Kills the agent as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_agent(&self) -> Result<()> {
        self.end_agent(Signal::KILL)
    }

    /// Does something while the agent stands still.
    ///
    /// # Errors
    /// What `work` returned, or that no agent runs.
    pub fn while_agent_stands<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let agent = self.agent();
        let agent = agent.as_ref().with_context(|| format!("no agent runs on {}", self.name()))?;
        agent.signal(Signal::STOP)?;
        let done = work();
        agent.signal(Signal::CONT)?;
        done
    }

    /// The agent's process ID.
    ///
    /// # Errors
    /// When it does not run.
    pub fn agent_pid(&self) -> Result<u32> {
        let agent = self.agent();
        Ok(agent.as_ref().with_context(|| format!("no agent runs on {}", self.name()))?.pid())
    }

    /// `GET path` of the agent.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        health::get(self, path)
    }

    /// That the agent lives and says that it is ready.
    ///
    /// # Errors
    /// When it is not; the error has its reason.
    pub fn ready(&self) -> Result<()> {
        if let Some(agent) = &*self.agent() {
            ensure!(agent.is_running()?, "the agent of {} has ended", self.name());
        }
        self.get("/readyz")?.ok()
    }

    /// What the agent has written.
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

    /// The plugin that the agent has installed, with the configuration that it has written.
    ///
    /// # Errors
    /// When either is not there.
    pub fn cni(&self) -> Result<Cni> {
        let path = self.conflist();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let list = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        let cni = Cni::new(&self.node, Config::from_list(&list)?)?;
        Ok(cni.with_program(self.node.dir().join("bin/weir-cni")))
    }

    /// A new pod with its network.
    ///
    /// # Errors
    /// When the plugin refuses.
    pub fn pod(&self, name: &str) -> Result<Attached> {
        Attached::new(self.cni()?, self.node.pod(name)?)
    }

    /// Waits until the node has the entries for these peers, and no others.
    ///
    /// # Errors
    /// When that does not come true; the error has the difference.
    pub fn knows_exactly<'a>(
        &self,
        peers: impl IntoIterator<Item = &'a NodeManifest>,
    ) -> Result<()> {
        let peers: Vec<_> = peers.into_iter().collect();
        let what = format!("{} knows exactly its peers", self.name());
        until(&what, || self.knows(peers.iter().copied()))
    }

    /// That the node has the entries for these peers, and no others.
    ///
    /// # Errors
    /// When it has not; the error has the difference.
    pub fn knows<'a>(&self, peers: impl IntoIterator<Item = &'a NodeManifest>) -> Result<()> {
        let found = Entries::of(self)?;
        let peers: Vec<_> = peers.into_iter().collect();
        let mut macs = BTreeMap::new();
        for peer in &peers {
            macs.extend(found.mac_of(peer).map(|mac| (peer.name().to_owned(), mac)));
        }
        let here = self.addresses_now()?;
        let wanted = Entries::wanted(self.settings.mode, &here, &peers, &macs)?;
        let difference = found.difference(&wanted);
        ensure!(difference.is_empty(), "{difference:#?}");
        Ok(())
    }

    /// The hardware address of the node's end of the tunnel.
    ///
    /// # Errors
    /// When there is no tunnel.
    pub fn tunnel_mac(&self) -> Result<String> {
        self.link(TUNNEL)?.mac.context("a tunnel without a hardware address")
    }

    /// The uplink's addresses; none while it is away.
    fn addresses_now(&self) -> Result<Vec<IpAddr>> {
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
