//! A Service with backends on both nodes: who is reached by its cluster IP, from a pod and from a
//! process of a node, and how soon one that is gone is asked no more.

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
/// Connections in which nobody may answer who has been removed.
const PROOF: usize = 50;

/// Shorter than the pause after which a lost SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Which backend answered how often.
type Answers = BTreeMap<String, usize>;

/// Writes a Service to the cluster's YAML, uses it, and takes a backend away. The client is a pod of
/// the first node, the backends are the other pods.
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
        println!("  {}", paint.good(format!("{target} has no endpoints: {refusal}")));
    }
    let written = Instant::now();
    manifests.put_service(&service)?;
    for target in service.frontends() {
        until("the Service answers", || ask_tcp(&client.sandbox, target).map(drop))?;
    }
    let took = milliseconds(written);
    println!(
        "  {}",
        paint.good(format!("its EndpointSlices are written: it answers after {took}"))
    );

    for target in service.frontends() {
        let answers = answers(&client.sandbox, target)?;
        println!("  {}", paint.good(line(&client.full_name, target, &answers, paint)));
    }
    let node = cluster.node(1)?;
    for target in service.frontends() {
        let answers = answers(node, target)?;
        let name = format!("a process of {}", node.name());
        println!("  {}", paint.good(line(&name, target, &answers, paint)));
    }

    let (gone, left) = backends.split_last().context("no backend")?;
    let removed = Instant::now();
    manifests.put_service(&with_backends(left))?;
    let target = *service.frontends().first().context("a Service without an address")?;
    until("the backend is asked no more", || {
        for _ in 0..PROOF {
            let who = ask_tcp(&client.sandbox, target)?;
            ensure!(who.server != gone.full_name, "{} still answers", who.server);
        }
        Ok(())
    })?;
    let name = paint.name(&gone.full_name);
    println!(
        "  {}",
        paint.good(format!(
            "{name} taken out of the YAML: {PROOF} connections later, {}, it has got none",
            milliseconds(removed)
        ))
    );
    Ok(())
}

/// An address and port of the Service, as `weir trace` takes it.
pub(crate) fn frontend() -> String {
    let [ip, _] = IPS;
    format!("{}/tcp", SocketAddr::new(ip, PORT))
}

/// How a connection to a Service without endpoints ends, once it is known.
fn refusal(client: &impl Stack, target: SocketAddr) -> Result<String> {
    let connect = || client.run(|| Ok(TcpStream::connect_timeout(&target, PATIENCE).err()));
    until("the Service is known", || {
        let error = connect()?.context("it answers")?;
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
        Ok(())
    })?;
    let started = Instant::now();
    let error = connect()?.context("it answers")?;
    Ok(format!("{error}, after {:.1} ms", started.elapsed().as_secs_f64() * 1e3))
}

fn with_backends(pods: &[DemoPod]) -> ServiceManifest {
    let service = ServiceManifest::new(NAME, &IPS, PORT, TARGET);
    pods.iter().fold(service, |service, pod| {
        let addresses: Vec<_> = pod.added.ips.iter().map(|ip| ip.address.ip()).collect();
        service.endpoint(&addresses, &pod.node)
    })
}

fn answers(client: &impl Stack, target: SocketAddr) -> Result<Answers> {
    let mut answers = Answers::new();
    for _ in 0..CONNECTIONS {
        *answers.entry(ask_tcp(client, target)?.server).or_default() += 1;
    }
    Ok(answers)
}

fn line(client: &str, target: SocketAddr, answers: &Answers, paint: Paint) -> String {
    let shares: Vec<_> = answers.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!(
        "{} → {:18} {}",
        paint.name(format!("{client:NAME_WIDTH$}")),
        target.to_string(),
        paint.faint(format!("answered by {}", shares.join(", "))),
    )
}

fn milliseconds(since: Instant) -> String {
    format!("{:.0} ms", since.elapsed().as_secs_f64() * 1e3)
}
