//! Configuring and creating a cluster.

use anyhow::Result;

use super::manifest::NodeManifest;
use super::manifest_dir::ManifestDir;
use super::member::Member;
use super::running::Cluster;
use super::settings::{Families, Mode, NETWORK, Settings};
use super::underlay::{Segment, Underlay};
use crate::lab::node::Node;

/// Hosts' addresses on the underlay begin after this.
const HOSTS: u8 = 10;

/// Creates a cluster. Defaults: IPv4 pods in a tunnel over IPv4, one subnet, one directory of
/// manifests for all agents.
#[derive(Clone, Debug)]
pub struct Builder {
    size: u8,
    settings: Settings,
    underlay: Option<Families>,
    routed: Vec<u8>,
    separate_manifests: bool,
    stopped: bool,
}

impl Cluster {
    /// Configures a cluster of `size` nodes.
    #[expect(clippy::new_ret_no_self, reason = "`Cluster::new(3).test(…)` reads as it is meant")]
    #[must_use]
    pub fn new(size: u8) -> Builder {
        Builder::new(size)
    }
}

impl Builder {
    fn new(size: u8) -> Self {
        let settings = Settings {
            mode: Mode::Vxlan,
            pods: Families::V4,
            underlay: Families::V4,
            mtu: 1500,
            network: NETWORK.to_owned(),
            log_level: "debug".to_owned(),
            flags: Vec::new(),
        };
        Self {
            size,
            settings,
            underlay: None,
            routed: Vec::new(),
            separate_manifests: false,
            stopped: false,
        }
    }

    /// How packets reach other nodes.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// The families of pods' addresses.
    #[must_use]
    pub fn pods(mut self, families: Families) -> Self {
        self.settings.pods = families;
        self
    }

    /// The families of nodes' addresses. The default is IPv4 with a tunnel, and the families of the
    /// pods otherwise.
    #[must_use]
    pub fn underlay(mut self, families: Families) -> Self {
        self.underlay = Some(families);
        self
    }

    /// The underlay's MTU in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.settings.mtu = mtu;
        self
    }

    /// The network of all IPv4 pods of the cluster.
    #[must_use]
    pub fn network(mut self, network: &str) -> Self {
        network.clone_into(&mut self.settings.network);
        self
    }

    /// Puts this node on another subnet, behind a router.
    #[must_use]
    pub fn behind_router(mut self, number: u8) -> Self {
        self.routed.push(number);
        self
    }

    /// Gives each agent its own directory of manifests, so that agents can see different states of
    /// the cluster.
    #[must_use]
    pub fn separate_manifests(mut self) -> Self {
        self.separate_manifests = true;
        self
    }

    /// Adds a flag for all agents.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.settings.flags.push(flag.to_owned());
        self
    }

    /// The agents' log level; the default is `debug`, because a failing test shows the logs.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.settings.log_level);
        self
    }

    /// Lets the agents serve Services.
    #[must_use]
    pub fn services(self) -> Self {
        self.flag("--services=true")
    }

    /// Turns the periodic resync off, so that agents repair only what the kernel notifies them of.
    #[must_use]
    pub fn without_timer(self) -> Self {
        self.flag("--resync-seconds=3600")
    }

    /// Starts no agent.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.stopped = true;
        self
    }

    /// Creates the cluster, waits until it is ready and runs a test on it. A failure shows the
    /// agents' logs.
    ///
    /// # Errors
    /// What `body` returns, or that the cluster could not be created or did not become ready.
    pub fn test(self, body: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
        let stopped = self.stopped;
        let cluster = self.create()?;
        let result = if stopped { Ok(()) } else { start(&cluster) }.and_then(|()| body(&cluster));
        if result.is_err() {
            eprintln!("{}", cluster.logs());
        }
        result
    }

    /// Creates the cluster without running a test, for programs such as the demonstration.
    ///
    /// # Errors
    /// When it could not be created or did not become ready.
    pub fn build(self) -> Result<Cluster> {
        let stopped = self.stopped;
        let cluster = self.create()?;
        if !stopped && let Err(error) = start(&cluster) {
            return Err(error.context(cluster.logs()));
        }
        Ok(cluster)
    }

    fn create(mut self) -> Result<Cluster> {
        self.settings.underlay = self.underlay.unwrap_or(match self.settings.mode {
            Mode::Vxlan => Families::V4,
            Mode::HostGw | Mode::DirectRouting => self.settings.pods,
        });
        let underlay = Underlay::new(self.settings.underlay, self.settings.mtu)?;
        for segment in 0..=u8::from(!self.routed.is_empty()) {
            underlay.add_segment(segment)?;
        }
        let mut cluster = Cluster { members: Vec::new(), manifest_dirs: Vec::new(), underlay };
        let count = if self.separate_manifests { self.size } else { 1 };
        for number in 1..=count {
            cluster
                .manifest_dirs
                .push(ManifestDir::new(cluster.underlay.dir(), &format!("manifests{number}"))?);
        }
        for number in 1..=self.size {
            let member = self.member(&cluster, number)?;
            for manifests in &cluster.manifest_dirs {
                manifests.put(member.manifest())?;
            }
            cluster.members.push(member);
        }
        Ok(cluster)
    }

    fn member(&self, cluster: &Cluster, number: u8) -> Result<Member> {
        let node = Node::new()?;
        let segment = Segment::from(self.routed.contains(&number));
        let addresses = cluster.underlay.plug(&node, segment, HOSTS + number)?;
        let manifest = NodeManifest::new(&format!("node{number}"))
            .created(&format!("2026-01-01T00:{number:02}:00Z"))
            .pod_cidrs(&self.settings.pod_cidrs(number))
            .internal_ips(&addresses);
        let index = if self.separate_manifests { usize::from(number) - 1 } else { 0 };
        let manifests =
            cluster.manifest_dirs.get(index).map_or(cluster.underlay.dir(), ManifestDir::dir);
        Member::new(node, number, manifest, &self.settings, manifests)
    }
}

fn start(cluster: &Cluster) -> Result<()> {
    for member in cluster.nodes() {
        member.start_agent()?;
    }
    cluster.wait_until_ready()
}
