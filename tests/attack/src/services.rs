//! The Services of the cluster that is attacked.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::closing::Closing;
use anyhow::{Context, Result};
use weir_tests::lab::{AttachedPod, Cluster, Server, ServiceManifest, Stack, TUNNEL_PORT};

/// The port of the server on each backend.
pub(crate) const TARGET: u16 = 8080;
/// The port of each backend at which nothing replies.
const SILENT_TARGET: u16 = 9090;
/// The port of each backend at which connections are closed.
const CLOSING_TARGET: u16 = 9091;
/// The port of the server of a node.
const NODE_TARGET: u16 = 9999;

/// The Services, and what serves them.
#[derive(Debug)]
pub(crate) struct Services {
    /// A pod of each node serves it, over TCP and UDP.
    pub(crate) web: SocketAddr,
    /// Nothing replies to datagrams to it; the backends are the same.
    pub(crate) silent: SocketAddr,
    /// The same backends close each connection to it at once.
    pub(crate) closing: SocketAddr,
    /// A server of the first node serves it.
    pub(crate) node: SocketAddr,
    /// Its backend is the tunnel's port of the first node.
    pub(crate) tunnel: SocketAddr,
    _servers: Vec<Server>,
    _silent: Vec<UdpSocket>,
    _closing: Vec<Closing>,
}

impl Services {
    /// Starts the servers on a pod of each node, and on the first node.
    pub(crate) fn new(cluster: &Cluster, backends: [&AttachedPod; 2]) -> Result<Self> {
        let node = cluster.node(1)?;
        let (address, is_ipv4) = (node.address()?, node.address()?.is_ipv4());
        let vip = |last: u8| -> IpAddr {
            if is_ipv4 {
                [10, 96, 0, last].into()
            } else {
                [0xfd96, 0, 0, 0, 0, 0, 0, last.into()].into()
            }
        };
        let mut web = ServiceManifest::new("web", &[vip(10)], 80, TARGET)
            .port("silent", "UDP", 81, SILENT_TARGET)
            .port("closing", "TCP", 82, CLOSING_TARGET);
        let node_service = ServiceManifest::new("node", &[vip(11)], 80, NODE_TARGET)
            .port("tunnel", "UDP", TUNNEL_PORT, TUNNEL_PORT)
            .endpoint(&[address], node.name());
        let mut servers =
            vec![Server::start_at(node, SocketAddr::new(address, NODE_TARGET), "node")?];
        let (mut silent, mut closing) = (Vec::new(), Vec::new());
        for (pod, number) in backends.into_iter().zip(1..) {
            let node = cluster.node(number)?;
            servers.push(Server::start(pod, TARGET, node.name())?);
            let target = SocketAddr::new(pod.address()?, SILENT_TARGET);
            silent.push(pod.run(|| UdpSocket::bind(target).context("bind"))?);
            closing.push(Closing::start(pod, CLOSING_TARGET)?);
            web = web.endpoint(&[pod.address()?], node.name());
        }
        for service in [&web, &node_service] {
            cluster.manifests()?.put_service(service)?;
        }
        let at = |last, port| SocketAddr::new(vip(last), port);
        Ok(Self {
            web: at(10, 80),
            silent: at(10, 81),
            closing: at(10, 82),
            node: at(11, 80),
            tunnel: at(11, TUNNEL_PORT),
            _servers: servers,
            _silent: silent,
            _closing: closing,
        })
    }
}
