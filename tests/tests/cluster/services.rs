//! Services: pods and processes of nodes reach backends by a cluster IP.

mod affinity;
mod datagrams;
mod endpoints;
mod errors;
mod external_client;
mod fragments;
mod full_table;
mod host_network;
mod icmp_error;
mod lifecycle;
mod map_capacity;
mod masquerade;
mod new_pod;
mod node_address;
mod node_process;
mod port_reuse;
mod ports;
mod reconnect;
mod rejection;
mod resilience;
mod testbed;
mod transfer;
mod update;
mod upgrade;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weir_tests::lab::{
    AttachedPod, Builder, Cluster, Families, Member, Mode, Server, ServerReply, ServiceManifest,
    Stack, ask_tcp, ask_tcp_within, ask_udp_within, until,
};

const PORT: u16 = 80;
const TARGET_PORT: u16 = 8080;

/// The cluster IPs of a Service in these families.
pub(crate) fn cluster_ips(families: Families) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    if families.ipv4() {
        ips.push(IpAddr::from([10, 96, 0, 10]));
    }
    if families.ipv6() {
        ips.push(IpAddr::from([0xfd96, 0, 0, 0, 0, 0, 0, 10]));
    }
    ips
}

/// A Service without endpoints.
pub(crate) fn web(families: Families) -> ServiceManifest {
    ServiceManifest::new("web", &cluster_ips(families), PORT, TARGET_PORT)
}

/// A pod with a server.
pub(crate) struct Backend {
    pub(crate) pod: AttachedPod,
    pub(crate) name: String,
    pub(crate) node: String,
    _server: Server,
}

impl Backend {
    pub(crate) fn on(node: &Member, name: &str) -> Result<Self> {
        let pod = node.pod(name)?;
        let server = Server::start(&pod, TARGET_PORT, name)?;
        let (name, node) = (name.to_owned(), node.name().to_owned());
        Ok(Self { pod, name, node, _server: server })
    }
}

/// The Service with these backends.
pub(crate) fn with(service: ServiceManifest, backends: &[&Backend]) -> ServiceManifest {
    backends
        .iter()
        .fold(service, |service, backend| service.endpoint(&backend.pod.addresses(), &backend.node))
}

/// Waits until a client gets a reply of this backend, over both protocols.
/// A client that reaches a new Service with one endpoint, both on the first node; the Service's address;
/// and the endpoint, named `backend`.
pub(crate) fn served(cluster: &Cluster) -> Result<(AttachedPod, SocketAddr, Backend)> {
    let node = cluster.node(1)?;
    let (client, backend) = (node.pod("client")?, Backend::on(node, "backend")?);
    let service = with(web(Families::V4), &[&backend]);
    cluster.manifests()?.put_service(&service)?;
    let target = service.frontends()[0];
    reaches(&client, target, "backend")?;
    Ok((client, target, backend))
}

pub(crate) fn reaches(client: &impl Stack, target: SocketAddr, backend: &str) -> Result<()> {
    reaches_by_tcp(client, target, backend)?;
    reaches_by_udp(client, target, backend)
}

/// Waits until a client gets a reply of this backend over TCP.
pub(crate) fn reaches_by_tcp(client: &impl Stack, target: SocketAddr, backend: &str) -> Result<()> {
    wait_for_reply(backend, |timeout| ask_tcp_within(client, target, timeout))
}

/// Waits until a client gets a reply of this backend over UDP.
pub(crate) fn reaches_by_udp(client: &impl Stack, target: SocketAddr, backend: &str) -> Result<()> {
    wait_for_reply(backend, |timeout| ask_udp_within(client, target, timeout))
}

fn wait_for_reply(backend: &str, ask: impl Fn(Duration) -> Result<ServerReply>) -> Result<()> {
    // Requests before the Service exists are lost, so the first timeouts are short.
    let mut timeout = Duration::from_millis(20);
    until("the backend replies", || {
        let reply = ask(timeout);
        timeout = (timeout * 2).min(Duration::from_secs(3));
        let reply = reply?;
        ensure!(reply.server == backend, "{reply:?}");
        Ok(())
    })
}

/// The unspecified address in the family of `target`.
pub(crate) fn any(target: SocketAddr) -> SocketAddr {
    if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() }
}

/// Checks that connections to `target` time out, without an error.
pub(crate) fn times_out(client: &impl Stack, target: SocketAddr) -> Result<()> {
    let timeout = Duration::from_millis(500);
    match client.run(|| Ok(TcpStream::connect_timeout(&target, timeout)))? {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
        Err(error) => bail!("{target}: {error}"),
        Ok(_) => bail!("{target} accepts connections"),
    }
}

/// A client on node 1 reaches a backend on node 1, then one on node 2.
fn reaches_local_and_remote(builder: Builder, families: Families) -> Result<()> {
    builder.pods(families).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
        for backend in &backends {
            let service = with(web(families), &[backend]);
            cluster.manifests()?.put_service(&service)?;
            for target in service.frontends() {
                reaches(&client, target, &backend.name)?;
                let reply = ask_tcp(&client, target)?;
                ensure!(
                    client.addresses().contains(&reply.client),
                    "the backend sees another address: {reply:?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn a_pod_reaches_a_service_on_its_node_and_on_another_through_a_tunnel() -> Result<()> {
    reaches_local_and_remote(Cluster::new(2), Families::V4)
}

#[test]
fn dual_stack_pods_reach_a_service_in_both_families_through_a_tunnel() -> Result<()> {
    reaches_local_and_remote(Cluster::new(2), Families::Dual)
}

#[test]
fn dual_stack_pods_reach_a_service_in_both_families_by_routes() -> Result<()> {
    reaches_local_and_remote(Cluster::new(2).mode(Mode::HostGw), Families::Dual)
}

#[test]
fn pods_reach_services_through_the_stack_if_the_fast_path_is_off() -> Result<()> {
    reaches_local_and_remote(Cluster::new(2).flag("--fast-path=false"), Families::Dual)
}

#[test]
fn a_pod_that_is_its_own_backend_reaches_itself() -> Result<()> {
    for fast in [true, false] {
        let builder = Cluster::new(1).pods(Families::Dual).flag(&format!("--fast-path={fast}"));
        builder.services().test(|cluster| {
            let backend = Backend::on(cluster.node(1)?, "me")?;
            let service = with(web(Families::Dual), &[&backend]);
            cluster.manifests()?.put_service(&service)?;
            service.frontends().into_iter().try_for_each(|at| reaches(&backend.pod, at, "me"))
        })?;
    }
    Ok(())
}
