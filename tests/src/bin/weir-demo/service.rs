//! A Service with backends on both nodes: which backends a pod and a process of a node reach by its
//! cluster IP, and how soon a removed backend gets no more connections.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Server, ServiceManifest, Stack, ask_tcp, until};

use crate::paint::Paint;
use crate::pods::{DemoPod, NAME_WIDTH};

const NAME: &str = "shop";
const IPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, 80)),
    IpAddr::V6(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 80)),
];
const PORT: u16 = 80;
const TARGET: u16 = 8080;
/// Connections from each client to each address.
const CONNECTIONS: usize = 20;
/// Connections that a removed backend must not get.
const CONNECTIONS_AFTER_REMOVAL: usize = 50;

/// Shorter than the interval after which TCP retransmits a SYN.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The number of connections of each backend.
type Shares = BTreeMap<String, usize>;

/// Writes a Service to the manifests, connects to it, and removes a backend. The client is a pod of the
/// first node, the backends are the other pods.
pub(crate) fn show(cluster: &Cluster, pods: &[DemoPod], paint: Paint) -> Result<()> {
    let (client, backends) = pods.split_first().context("no pods")?;
    let servers: Result<Vec<_>> =
        backends.iter().map(|pod| Server::start(&pod.sandbox, TARGET, &pod.full_name)).collect();
    let _servers = servers?;

    let service = with_backends(backends);
    let manifests = cluster.manifests()?;
    manifests.put_service(&service.clone().without_endpoints())?;
    for target in service.frontends() {
        let refusal = refusal(&client.sandbox, target)?;
        println!("  {}", paint.good(format!("{target} without endpoints: {refusal}")));
    }
    let written = Instant::now();
    manifests.put_service(&service)?;
    for target in service.frontends() {
        until("the Service has backends", || ask_tcp(&client.sandbox, target).map(drop))?;
    }
    let took = milliseconds(written);
    println!("  {}", paint.good(format!("EndpointSlices written, first connection after {took}")));

    for target in service.frontends() {
        let shares = count_backends(&client.sandbox, target)?;
        println!("  {}", paint.good(line(&client.full_name, target, &shares, paint)));
    }
    let node = cluster.node(1)?;
    for target in service.frontends() {
        let shares = count_backends(node, target)?;
        let name = format!("a process of {}", node.name());
        println!("  {}", paint.good(line(&name, target, &shares, paint)));
    }

    let (removed, left) = backends.split_last().context("no backend")?;
    let since = Instant::now();
    manifests.put_service(&with_backends(left))?;
    let target = *service.frontends().first().context("a Service without an address")?;
    until("the removed backend gets no more connections", || {
        for _ in 0..CONNECTIONS_AFTER_REMOVAL {
            let reply = ask_tcp(&client.sandbox, target)?;
            ensure!(reply.server != removed.full_name, "{} still replies", reply.server);
        }
        Ok(())
    })?;
    let name = paint.name(&removed.full_name);
    println!(
        "  {}",
        paint.good(format!(
            "{name} removed from the manifest: none of the next {CONNECTIONS_AFTER_REMOVAL} connections reached it, {} later",
            milliseconds(since)
        ))
    );
    Ok(())
}

/// The Service's frontend, as an argument of `weir trace`.
pub(crate) fn frontend() -> String {
    let [ip, _] = IPS;
    format!("{}/tcp", SocketAddr::new(ip, PORT))
}

/// Waits until connections to a Service without endpoints are refused, and describes one.
fn refusal(client: &impl Stack, target: SocketAddr) -> Result<String> {
    let connect = || client.run(|| Ok(TcpStream::connect_timeout(&target, TIMEOUT).err()));
    until("the Service refuses connections", || {
        let error = connect()?.context("it accepts connections")?;
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
        Ok(())
    })?;
    let started = Instant::now();
    let error = connect()?.context("it accepts connections")?;
    Ok(format!("{error}, after {:.1} ms", started.elapsed().as_secs_f64() * 1e3))
}

fn with_backends(pods: &[DemoPod]) -> ServiceManifest {
    let service = ServiceManifest::new(NAME, &IPS, PORT, TARGET);
    pods.iter().fold(service, |service, pod| {
        let addresses: Vec<_> = pod.added.ips.iter().map(|ip| ip.address.ip()).collect();
        service.endpoint(&addresses, &pod.node)
    })
}

fn count_backends(client: &impl Stack, target: SocketAddr) -> Result<Shares> {
    let mut shares = Shares::new();
    for _ in 0..CONNECTIONS {
        *shares.entry(ask_tcp(client, target)?.server).or_default() += 1;
    }
    Ok(shares)
}

fn line(client: &str, target: SocketAddr, shares: &Shares, paint: Paint) -> String {
    let shares: Vec<_> = shares.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!(
        "{} → {:18} {}",
        paint.name(format!("{client:NAME_WIDTH$}")),
        target.to_string(),
        paint.faint(format!("connections to {}", shares.join(", "))),
    )
}

fn milliseconds(since: Instant) -> String {
    format!("{:.0} ms", since.elapsed().as_secs_f64() * 1e3)
}
