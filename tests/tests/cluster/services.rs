//! Services: pods and processes of nodes reach the pods behind a cluster IP.

mod birth;
mod change;
mod host;
mod reconnect;
mod refusal;
mod room;
mod upkeep;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use weir_tests::lab::{
    Attached, Builder, Cluster, Families, Member, Mode, Server, ServiceManifest, Stack, ask_tcp,
    ask_udp, until,
};

const PORT: u16 = 80;
const TARGET: u16 = 8080;

/// The addresses of a Service in these families.
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
    ServiceManifest::new("web", &cluster_ips(families), PORT, TARGET)
}

/// A pod that serves.
pub(crate) struct Backend {
    pub(crate) pod: Attached,
    pub(crate) name: String,
    pub(crate) node: String,
    _server: Server,
}

impl Backend {
    pub(crate) fn on(node: &Member, name: &str) -> Result<Self> {
        let pod = node.pod(name)?;
        let server = Server::start(&pod, TARGET, name)?;
        let (name, node) = (name.to_owned(), node.name().to_owned());
        Ok(Self { pod, name, node, _server: server })
    }
}

/// The Service with these pods behind it.
pub(crate) fn with(service: ServiceManifest, backends: &[&Backend]) -> ServiceManifest {
    backends
        .iter()
        .fold(service, |service, backend| service.endpoint(&backend.pod.addresses(), &backend.node))
}

/// Waits until a client gets an answer of this backend, over both protocols.
pub(crate) fn reaches(client: &impl Stack, target: SocketAddr, backend: &str) -> Result<()> {
    for ask in [ask_tcp, ask_udp] {
        until("the backend answers", || {
            let who = ask(client, target)?;
            ensure!(who.server == backend, "{who:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A client on node 1 reaches backends on node 1 and on node 2, one after the other.
fn reaches_both(builder: Builder, families: Families) -> Result<()> {
    builder.pods(families).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
        for backend in &backends {
            let service = with(web(families), &[backend]);
            cluster.world()?.put_service(&service)?;
            for target in service.targets() {
                reaches(&client, target, &backend.name)?;
                let who = ask_tcp(&client, target)?;
                ensure!(client.addresses().contains(&who.client), "not its own: {who:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_pod_reaches_a_service_on_its_node_and_on_another_through_a_tunnel() -> Result<()> {
    reaches_both(Cluster::new(2), Families::V4)
}

#[test]
fn dual_stack_pods_reach_a_service_in_both_families_through_a_tunnel() -> Result<()> {
    reaches_both(Cluster::new(2), Families::Dual)
}

#[test]
fn dual_stack_pods_reach_a_service_in_both_families_by_routes() -> Result<()> {
    reaches_both(Cluster::new(2).mode(Mode::HostGw), Families::Dual)
}

#[test]
fn pods_reach_services_by_the_stack_where_the_fast_path_is_off() -> Result<()> {
    reaches_both(Cluster::new(2).flag("--fast-path=false"), Families::Dual)
}

#[test]
fn a_pod_that_is_its_own_backend_reaches_itself() -> Result<()> {
    for fast in [true, false] {
        let builder = Cluster::new(1).pods(Families::Dual).flag(&format!("--fast-path={fast}"));
        builder.services().test(|cluster| {
            let backend = Backend::on(cluster.node(1)?, "me")?;
            let service = with(web(Families::Dual), &[&backend]);
            cluster.world()?.put_service(&service)?;
            service.targets().into_iter().try_for_each(|at| reaches(&backend.pod, at, "me"))
        })?;
    }
    Ok(())
}
