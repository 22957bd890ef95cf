//! The testbed of a contender: a cluster of its own with one server, and a client on each node.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::lab::{AttachedPod, Cluster, Namespaces, Pod, Stack, eventually};

use super::api_server::ApiServer;
use super::contender::{Contender, Place};
use super::exchange::{Ends, Kind, run_exchange};
use super::kube_proxy::{self, Synced};
use super::maps;
use super::objects::{Service, TARGET_PORT};
use crate::baseline;

/// Services in a file of manifests: one file for each would be up to 50,000 files.
const SERVICES_PER_FILE: usize = 500;

/// A contender with a number of Services.
pub(crate) struct Testbed {
    pub(crate) contender: Contender,
    pub(crate) services: u32,
    /// The rules of kube-proxy, if the contender is kube-proxy.
    pub(crate) synced: Option<Synced>,
    server: Namespaces,
    /// In the order of [`Place::ALL`].
    clients: [Namespaces; 2],
    listens: SocketAddr,
    target: SocketAddr,
    resources: Resources,
}

/// The pods and the cluster, which exist as long as the testbed.
enum Resources {
    Baseline { _pods: Vec<Pod>, _cluster: Cluster },
    Weir { _pods: Vec<AttachedPod>, cluster: Cluster },
}

/// Builds testbeds.
pub(crate) struct TestbedBuilder {
    /// Started when kube-proxy first needs it.
    api_server: OnceCell<ApiServer>,
    /// For the completion of kube-proxy's rules, or of Weir's maps.
    timeout: Duration,
    /// The processor of client and server.
    cpu: usize,
}

impl TestbedBuilder {
    pub(crate) fn new(timeout: Duration, cpu: usize) -> Self {
        Self { api_server: OnceCell::new(), timeout, cpu }
    }

    /// Builds a testbed. Gives `None` when its rules or maps are not complete in time.
    pub(crate) fn build(&self, contender: Contender, services: u32) -> Result<Option<Testbed>> {
        let testbed = match contender {
            Contender::Direct | Contender::Slow | Contender::Fast => {
                self.build_weir(contender, services)
            }
            Contender::Bare | Contender::Iptables | Contender::Nftables => {
                self.build_baseline(contender, services)
            }
        };
        let testbed = testbed.with_context(|| format!("{contender} with {services} Services"))?;
        let Some(testbed) = testbed else { return Ok(None) };
        for client in &testbed.clients {
            widen_port_range(client)?;
        }
        testbed.wait_for_connection(self.cpu)?;
        Ok(Some(testbed))
    }

    fn api_server(&self) -> Result<&ApiServer> {
        if self.api_server.get().is_none() {
            eprintln!("preparing: a control plane for kube-proxy");
            // The cell is empty: this type is not shared between threads.
            let _ = self.api_server.set(ApiServer::start()?);
        }
        self.api_server.get().context("a control plane")
    }

    fn build_baseline(&self, contender: Contender, services: u32) -> Result<Option<Testbed>> {
        let cluster = baseline::two_nodes()?;
        // kube-proxy needs these settings, and kubeadm requires them of a node.
        let bridged = if contender == Contender::Bare { "0" } else { "1" };
        let mut pods = Vec::new();
        for (node, name) in [(1, "server"), (1, "near"), (2, "far")] {
            let node = cluster.node(node)?;
            for family in ["ip", "ip6"] {
                let name = format!("net/bridge/bridge-nf-call-{family}tables");
                node.machine().set_sysctl(&name, bridged)?;
            }
            pods.push(baseline::pod(node, name)?);
        }
        let [(server, added), (near, _), (far, _)] = &*pods else {
            anyhow::bail!("not three pods")
        };
        let address = added.address()?;
        let listens = SocketAddr::new(address, TARGET_PORT);
        let measured = Service::measured(address);
        let target = if contender == Contender::Bare { listens } else { measured.target() };
        let mut synced = None;
        if let Some(mode) = contender.kube_proxy() {
            let api_server = self.api_server()?;
            api_server.fill(&measured, services)?;
            synced =
                kube_proxy::program(api_server, &cluster, mode, &measured, services, self.timeout)?;
            if synced.is_none() {
                return Ok(None);
            }
        }
        let namespaces = |pod: &Pod| pod.namespaces().cloned();
        Ok(Some(Testbed {
            contender,
            services,
            synced,
            server: namespaces(server)?,
            clients: [namespaces(near)?, namespaces(far)?],
            listens,
            target,
            resources: Resources::Baseline {
                _pods: pods.into_iter().map(|(pod, _)| pod).collect(),
                _cluster: cluster,
            },
        }))
    }

    fn build_weir(&self, contender: Contender, services: u32) -> Result<Option<Testbed>> {
        let mut builder = Cluster::new(2).services().without_timer().log_level("info");
        if contender == Contender::Slow {
            builder = builder.flag("--fast-path=false");
        }
        let cluster = builder.build()?;
        let mut pods = Vec::new();
        for (node, name) in [(1, "server"), (1, "near"), (2, "far")] {
            pods.push(cluster.node(node)?.pod(name)?);
        }
        let [server, near, far] = &*pods else { anyhow::bail!("not three pods") };
        let address = server.address()?;
        let measured = Service::measured(address);
        let manifests = cluster.manifests()?;
        let others: Vec<_> = (1..services).map(|number| Service::other(number, 1)).collect();
        for (number, others) in others.chunks(SERVICES_PER_FILE).enumerate() {
            let documents: Vec<_> = others.iter().map(Service::yaml).collect();
            manifests.write(&format!("others-{number}.yaml"), &documents.join("---\n"))?;
        }
        manifests.write("measured.yaml", &measured.yaml())?;
        for node in cluster.nodes() {
            if !maps::wait_for(node, services, self.timeout)? {
                return Ok(None);
            }
        }
        let listens = SocketAddr::new(address, TARGET_PORT);
        let target = if contender == Contender::Direct { listens } else { measured.target() };
        let namespaces = |pod: &AttachedPod| pod.namespaces().cloned();
        Ok(Some(Testbed {
            contender,
            services,
            synced: None,
            server: namespaces(server)?,
            clients: [namespaces(near)?, namespaces(far)?],
            listens,
            target,
            resources: Resources::Weir { _pods: pods, cluster },
        }))
    }
}

impl Testbed {
    /// The cluster, if the contender is Weir.
    pub(crate) fn weir_cluster(&self) -> Option<&Cluster> {
        match &self.resources {
            Resources::Baseline { .. } => None,
            Resources::Weir { cluster, .. } => Some(cluster),
        }
    }

    /// The client at a place, and the server.
    pub(crate) fn ends(&self, place: Place) -> Ends<'_> {
        let [near, far] = &self.clients;
        let client = match place {
            Place::SameNode => near,
            Place::AcrossNodes => far,
        };
        Ends { client, server: &self.server, listens: self.listens, target: self.target }
    }

    /// Waits until the clients reach the server.
    fn wait_for_connection(&self, cpu: usize) -> Result<()> {
        for place in Place::ALL {
            let connect = || run_exchange(Kind::Request, &self.ends(place), Duration::ZERO, cpu);
            eventually("a client reaches the server", Duration::from_secs(120), || {
                Ok(connect().is_ok())
            })
            .with_context(|| format!("{} with {} Services", self.contender, self.services))?;
        }
        Ok(())
    }
}

/// Gives a client all ports, and lets it reuse them after a second. Each connection leaves its port
/// in TIME_WAIT at the client, which closes first, and no contender must wait for a free port.
fn widen_port_range(client: &Namespaces) -> Result<()> {
    client.run(|| {
        for (name, value) in [("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")] {
            let path = format!("/proc/sys/net/ipv4/{name}");
            std::fs::write(&path, value).with_context(|| format!("write {path}"))?;
        }
        Ok(())
    })
}
