//! Making a cluster.

use anyhow::Result;

use super::Cluster;
use super::manifest::NodeManifest;
use super::member::Member;
use super::settings::{Families, Mode, NETWORK, Settings};
use super::underlay::{Segment, Underlay};
use super::world::World;
use crate::lab::node::Node;

/// Hosts' addresses on the underlay begin after this.
const HOSTS: u8 = 10;

/// A cluster to be made. What a test does not mention is: IPv4 pods in a tunnel over IPv4, one
/// subnet, one world for all.
#[derive(Clone, Debug)]
pub struct Builder {
    size: u8,
    settings: Settings,
    underlay: Option<Families>,
    away: Vec<u8>,
    own_worlds: bool,
    stopped: bool,
}

impl Builder {
    pub(super) fn new(size: u8) -> Self {
        let settings = Settings {
            mode: Mode::Vxlan,
            pods: Families::V4,
            underlay: Families::V4,
            mtu: 1500,
            network: NETWORK.to_owned(),
            log_level: "debug".to_owned(),
            flags: Vec::new(),
        };
        Self { size, settings, underlay: None, away: Vec::new(), own_worlds: false, stopped: false }
    }

    /// How packets get to other nodes.
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

    /// The families of nodes' addresses. Else it is IPv4, and those of the pods where there may be
    /// no tunnel.
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

    /// The network that all IPv4 pods of the cluster are in.
    #[must_use]
    pub fn network(mut self, network: &str) -> Self {
        network.clone_into(&mut self.settings.network);
        self
    }

    /// This node is on another subnet, behind a router.
    #[must_use]
    pub fn behind_router(mut self, number: u8) -> Self {
        self.away.push(number);
        self
    }

    /// Each agent has a directory of manifests for itself, so that they can be told different
    /// things at different times.
    #[must_use]
    pub fn own_worlds(mut self) -> Self {
        self.own_worlds = true;
        self
    }

    /// One more flag for all agents.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.settings.flags.push(flag.to_owned());
        self
    }

    /// What the agents log, which else is much: a test that fails shows it.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.settings.log_level);
        self
    }

    /// The agents serve Services.
    #[must_use]
    pub fn services(self) -> Self {
        self.flag("--services=true")
    }

    /// What is repaired is repaired because the kernel told of it: the timer is not what helps.
    #[must_use]
    pub fn without_timer(self) -> Self {
        self.flag("--resync-seconds=3600")
    }

    /// No agent is started.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.stopped = true;
        self
    }

    /// Makes the cluster and waits until it has settled, then runs a test on it. If anything
    /// fails, what the agents wrote is shown.
    ///
    /// # Errors
    /// What `body` returns, or that the cluster could not be made or did not settle.
    pub fn test(self, body: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
        let stopped = self.stopped;
        let cluster = self.make()?;
        let tried = if stopped { Ok(()) } else { start(&cluster) }.and_then(|()| body(&cluster));
        if tried.is_err() {
            eprintln!("{}", cluster.logs());
        }
        tried
    }

    /// Makes the cluster, for those who are no test.
    ///
    /// # Errors
    /// When it could not be made or did not settle.
    pub fn build(self) -> Result<Cluster> {
        let stopped = self.stopped;
        let cluster = self.make()?;
        if !stopped && let Err(error) = start(&cluster) {
            return Err(error.context(cluster.logs()));
        }
        Ok(cluster)
    }

    fn make(mut self) -> Result<Cluster> {
        self.settings.underlay = self.underlay.unwrap_or(match self.settings.mode {
            Mode::Vxlan => Families::V4,
            Mode::HostGw | Mode::DirectRouting => self.settings.pods,
        });
        let underlay = Underlay::new(self.settings.underlay, self.settings.mtu)?;
        for segment in 0..=u8::from(!self.away.is_empty()) {
            underlay.add_segment(segment)?;
        }
        let mut cluster = Cluster { members: Vec::new(), worlds: Vec::new(), underlay };
        let worlds = if self.own_worlds { self.size } else { 1 };
        for number in 1..=worlds {
            cluster.worlds.push(World::new(cluster.underlay.dir(), &format!("world{number}"))?);
        }
        for number in 1..=self.size {
            let member = self.member(&cluster, number)?;
            for world in &cluster.worlds {
                world.put(member.manifest())?;
            }
            cluster.members.push(member);
        }
        Ok(cluster)
    }

    fn member(&self, cluster: &Cluster, number: u8) -> Result<Member> {
        let node = Node::new()?;
        let segment = Segment::from(self.away.contains(&number));
        let addresses = cluster.underlay.plug(&node, segment, HOSTS + number)?;
        let manifest = NodeManifest::new(&format!("node{number}"))
            .created(&format!("2026-01-01T00:{number:02}:00Z"))
            .pod_cidrs(&self.settings.pod_cidrs(number))
            .internal_ips(&addresses);
        let index = if self.own_worlds { usize::from(number) - 1 } else { 0 };
        let world = cluster.worlds.get(index).map_or(cluster.underlay.dir(), World::dir);
        Member::new(node, number, manifest, &self.settings, world)
    }
}

fn start(cluster: &Cluster) -> Result<()> {
    for member in cluster.nodes() {
        member.start_agent()?;
    }
    cluster.settled()
}
