//! The contenders, each a cluster of its own with one server and a client on either node.

use std::cell::OnceCell;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use weir_tests::lab::{AttachedPod, Cluster, Namespaces, Pod, Stack, eventually};

use super::control::Control;
use super::exchange::{Ends, Kind, talk};
use super::kube_proxy::{self, Mode, Synced};
use super::maps;
use super::objects::{Service, TARGET_PORT};
use crate::by_hand;

/// Files of manifests hold so many Services: one for each would be 50,000.
const IN_A_FILE: usize = 500;

/// Who carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contender {
    /// A bridge and a tunnel made by hand, without any rule; the pod's own address
    Bare,
    /// Weir's fast path; the pod's own address
    Direct,
    /// A Service by kube-proxy in its iptables mode
    Iptables,
    /// A Service by kube-proxy in its nftables mode
    Nftables,
    /// A Service by Weir without its fast path
    Slow,
    /// A Service by Weir
    Fast,
}

impl Contender {
    /// How kube-proxy does it, if it does.
    pub(crate) fn kube_proxy(self) -> Option<Mode> {
        match self {
            Self::Iptables => Some(Mode::Iptables),
            Self::Nftables => Some(Mode::Nftables),
            Self::Bare | Self::Direct | Self::Slow | Self::Fast => None,
        }
    }

    /// Whether it has to do with Services at all.
    pub(crate) fn serves(self) -> bool {
        !matches!(self, Self::Bare | Self::Direct)
    }
}

impl Display for Contender {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bare => "bare network",
            Self::Direct => "weir, pod's address",
            Self::Iptables => "kube-proxy, iptables",
            Self::Nftables => "kube-proxy, nftables",
            Self::Slow => "weir, slow path",
            Self::Fast => "weir, fast path",
        })
    }
}

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// On the server's node
    SameNode,
    /// On another node, behind a tunnel
    AcrossNodes,
}

impl Place {
    pub(crate) const ALL: [Self; 2] = [Self::SameNode, Self::AcrossNodes];
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SameNode => "same node",
            Self::AcrossNodes => "across nodes",
        })
    }
}

/// One contender with its number of Services.
pub(crate) struct Lane {
    pub(crate) contender: Contender,
    pub(crate) services: u32,
    /// What kube-proxy took, where it is kube-proxy's.
    pub(crate) synced: Option<Synced>,
    server: Namespaces,
    /// As [`Place::ALL`].
    clients: [Namespaces; 2],
    listens: SocketAddr,
    target: SocketAddr,
    kept: Kept,
}

/// What the lane is made of.
enum Kept {
    ByHand { _pods: Vec<Pod>, _cluster: Cluster },
    Weir { _pods: Vec<AttachedPod>, cluster: Cluster },
}

/// How long to wait for what, and where.
pub(crate) struct Workshop {
    /// Started when kube-proxy first needs it.
    control: OnceCell<Control>,
    /// For kube-proxy's rules, and for Weir's maps.
    pub(crate) patience: Duration,
    pub(crate) cpu: usize,
}

impl Workshop {
    pub(crate) fn new(patience: Duration, cpu: usize) -> Self {
        Self { control: OnceCell::new(), patience, cpu }
    }

    /// Makes a lane, unless it is not programmed in time.
    pub(crate) fn make(&self, contender: Contender, services: u32) -> Result<Option<Lane>> {
        let lane = match contender {
            Contender::Direct | Contender::Slow | Contender::Fast => self.weir(contender, services),
            Contender::Bare | Contender::Iptables | Contender::Nftables => {
                self.by_hand(contender, services)
            }
        };
        let lane = lane.with_context(|| format!("{contender} with {services} Services"))?;
        let Some(lane) = lane else { return Ok(None) };
        for client in &lane.clients {
            as_many_ports_as_possible(client)?;
        }
        lane.connects(self.cpu)?;
        Ok(Some(lane))
    }

    fn control(&self) -> Result<&Control> {
        if self.control.get().is_none() {
            eprintln!("preparing: a control plane for kube-proxy");
            // Nobody else can have set it meanwhile.
            let _ = self.control.set(Control::start()?);
        }
        self.control.get().context("a control plane")
    }
    fn by_hand(&self, contender: Contender, services: u32) -> Result<Option<Lane>> {
        let cluster = by_hand::two_nodes()?;
        // kubeadm demands it of a node; kube-proxy needs it.
        let bridged = if contender == Contender::Bare { "0" } else { "1" };
        let mut pods = Vec::new();
        for (node, name) in [(1, "server"), (1, "near"), (2, "far")] {
            let node = cluster.node(node)?;
            for family in ["ip", "ip6"] {
                let name = format!("net/bridge/bridge-nf-call-{family}tables");
                node.machine().set_sysctl(&name, bridged)?;
            }
            pods.push(by_hand::pod(node, name)?);
        }
        let [(server, added), (near, _), (far, _)] = &*pods else { anyhow::bail!("three pods") };
        let address = added.address()?;
        let listens = SocketAddr::new(address, TARGET_PORT);
        let measured = Service::measured(address);
        let target = if contender == Contender::Bare { listens } else { measured.target() };
        let mut synced = None;
        if let Some(mode) = contender.kube_proxy() {
            let control = self.control()?;
            control.fill(&measured, services)?;
            let patience = self.patience;
            synced = kube_proxy::program(control, &cluster, mode, &measured, services, patience)?;
            if synced.is_none() {
                return Ok(None);
            }
        }
        let spaces = |pod: &Pod| pod.namespaces().cloned();
        Ok(Some(Lane {
            contender,
            services,
            synced,
            server: spaces(server)?,
            clients: [spaces(near)?, spaces(far)?],
            listens,
            target,
            kept: Kept::ByHand {
                _pods: pods.into_iter().map(|(pod, _)| pod).collect(),
                _cluster: cluster,
            },
        }))
    }

    fn weir(&self, contender: Contender, services: u32) -> Result<Option<Lane>> {
        let mut builder = Cluster::new(2).services().without_timer().log_level("info");
        if contender == Contender::Slow {
            builder = builder.flag("--fast-path=false");
        }
        let cluster = builder.build()?;
        let mut pods = Vec::new();
        for (node, name) in [(1, "server"), (1, "near"), (2, "far")] {
            pods.push(cluster.node(node)?.pod(name)?);
        }
        let [server, near, far] = &*pods else { anyhow::bail!("three pods") };
        let address = server.address()?;
        let measured = Service::measured(address);
        let world = cluster.manifests()?;
        let others: Vec<_> = (1..services).map(|number| Service::other(number, 1)).collect();
        for (number, others) in others.chunks(IN_A_FILE).enumerate() {
            let documents: Vec<_> = others.iter().map(Service::yaml).collect();
            world.write(&format!("others-{number}.yaml"), &documents.join("---\n"))?;
        }
        world.write("measured.yaml", &measured.yaml())?;
        for node in cluster.nodes() {
            if !maps::wait_for(node, services, self.patience)? {
                return Ok(None);
            }
        }
        let listens = SocketAddr::new(address, TARGET_PORT);
        let target = if contender == Contender::Direct { listens } else { measured.target() };
        let spaces = |pod: &AttachedPod| pod.namespaces().cloned();
        Ok(Some(Lane {
            contender,
            services,
            synced: None,
            server: spaces(server)?,
            clients: [spaces(near)?, spaces(far)?],
            listens,
            target,
            kept: Kept::Weir { _pods: pods, cluster },
        }))
    }
}

impl Lane {
    /// The nodes, if they are Weir's.
    pub(crate) fn weir_cluster(&self) -> Option<&Cluster> {
        match &self.kept {
            Kept::ByHand { .. } => None,
            Kept::Weir { cluster, .. } => Some(cluster),
        }
    }

    pub(crate) fn ends(&self, place: Place) -> Ends<'_> {
        let [near, far] = &self.clients;
        let client = match place {
            Place::SameNode => near,
            Place::AcrossNodes => far,
        };
        Ends { client, server: &self.server, listens: self.listens, target: self.target }
    }

    /// Waits until the clients reach the server.
    pub(crate) fn connects(&self, cpu: usize) -> Result<()> {
        for place in Place::ALL {
            let try_it = || talk(Kind::Request, &self.ends(place), Duration::ZERO, cpu);
            eventually("a client reaches the server", Duration::from_secs(120), || {
                Ok(try_it().is_ok())
            })
            .with_context(|| format!("{} with {} Services", self.contender, self.services))?;
        }
        Ok(())
    }
}

/// Each connection leaves its port in TIME_WAIT at the client, which closes first. With as many
/// ports as there are, and their use again after a second, no contender waits for one.
fn as_many_ports_as_possible(client: &Namespaces) -> Result<()> {
    client.run(|| {
        for (name, value) in [("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")] {
            let path = format!("/proc/sys/net/ipv4/{name}");
            std::fs::write(&path, value).with_context(|| format!("write {path}"))?;
        }
        Ok(())
    })
}
