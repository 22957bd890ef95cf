//! Machines outside of the cluster reach Services through a node to which their network routes cluster
//! IPs.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use weir_tests::lab::{
    Cluster, Families, Member, Mode, Node, ServiceManifest, Stack, TUNNEL_PORT, ask_tcp, close,
    until,
};

use super::icmp_error::IcmpListener;
use super::rejection::refuses;
use super::{Backend, PORT, TARGET_PORT, any, cluster_ips, reaches, reaches_by_tcp, web, with};

const DEADLINE: Duration = Duration::from_secs(3);
/// The time after which a datagram is considered lost.
const LOSS_TIMEOUT: Duration = Duration::from_millis(300);

/// A machine behind the underlay's router, which routes cluster IPs to a node.
fn outside(cluster: &Cluster, by: &Member) -> Result<Node> {
    let (machine, _) = cluster.outside()?;
    for address in by.manifest().addresses() {
        let (family, network) = match address {
            IpAddr::V4(_) => ("-4", "10.96.0.0/12"),
            IpAddr::V6(_) => ("-6", "fd96::/112"),
        };
        cluster.underlay().sh(&format!("ip {family} route add {network} via {address}"))?;
    }
    Ok(machine)
}

/// Runs `check` with a machine outside of the cluster whose packets pass the first node, and with a
/// backend on that node, then on the other.
fn on_both_nodes(check: impl Fn(&Cluster, &Node, &Backend) -> Result<()>) -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        let builder = Cluster::new(2).pods(Families::Dual).underlay(Families::Dual).mode(mode);
        builder.services().test(|cluster| {
            let (near, far) = (cluster.node(1)?, cluster.node(2)?);
            let client = outside(cluster, near)?;
            for backend in [Backend::on(near, "near")?, Backend::on(far, "far")?] {
                check(cluster, &client, &backend)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_machine_outside_of_the_cluster_reaches_a_service_at_the_port_of_the_tunnel() -> Result<()> {
    on_both_nodes(|cluster, client, backend| {
        let ips = cluster_ips(Families::Dual);
        let service = ServiceManifest::new("web", &ips, TUNNEL_PORT, TARGET_PORT);
        let service = with(service, &[backend]);
        cluster.manifests()?.put_service(&service)?;
        let mut targets = service.frontends().into_iter();
        targets.try_for_each(|target| reaches(client, target, &backend.name))
    })
}

#[test]
fn a_machine_outside_of_the_cluster_reaches_services_through_a_node() -> Result<()> {
    on_both_nodes(|cluster, client, backend| {
        let service = with(web(Families::Dual), &[backend]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches(client, target, &backend.name).with_context(|| format!("{target}"))?;
            // Otherwise the reply would not pass this node.
            let seen = ask_tcp(client, target)?.client;
            ensure!(is_of(cluster.node(1)?, seen), "{} sees {seen}", backend.name);
        }
        Ok(())
    })
}

/// Runs `check` with a socket of the machine, a frontend, and the address of its backend, for each
/// cluster IP of a Service. The backend's server does not listen on the target port.
fn datagrams(
    cluster: &Cluster,
    client: &Node,
    backend: &Backend,
    check: impl Fn(&UdpSocket, SocketAddr, SocketAddr) -> Result<()>,
) -> Result<()> {
    const SPARE: u16 = 9_999;
    let service = web(Families::Dual).without_port("udp").port("udp", "UDP", PORT, SPARE);
    let service = with(service, &[backend]);
    cluster.manifests()?.put_service(&service)?;
    for target in service.frontends().into_iter().collect::<BTreeSet<_>>() {
        reaches_by_tcp(client, target, &backend.name)?;
        let near = client.run(|| UdpSocket::bind(any(target)).context("bind"))?;
        near.set_read_timeout(Some(DEADLINE))?;
        let same = |ip: &&IpAddr| ip.is_ipv4() == target.is_ipv4();
        let addresses = backend.pod.addresses();
        let ip = addresses.iter().find(same).context("no address of the family")?;
        check(&near, target, SocketAddr::new(*ip, SPARE))
            .with_context(|| format!("{} by {target}", backend.name))?;
    }
    Ok(())
}

#[test]
fn fragmented_datagrams_pass_between_a_machine_outside_of_the_cluster_and_a_backend() -> Result<()>
{
    on_both_nodes(|cluster, client, backend| {
        datagrams(cluster, client, backend, |near, target, listen| {
            let far = backend.pod.run(|| UdpSocket::bind(listen).context("bind"))?;
            far.set_read_timeout(Some(LOSS_TIMEOUT))?;
            for size in [8_000, 60_000] {
                let sent: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[at % 2]).collect();
                let mut buffer = vec![0; size + 1];
                let mut peer = target;
                // The first datagrams are lost until the client has learned the path MTU.
                until("the datagram arrives", || {
                    near.send_to(&sent, target)?;
                    let (length, from) =
                        far.recv_from(&mut buffer).context("the datagram is lost")?;
                    ensure!(buffer.get(..length) == Some(&*sent), "{size} bytes arrive changed");
                    peer = from;
                    Ok(())
                })?;
                far.send_to(&sent, peer)?;
                let (length, from) = near.recv_from(&mut buffer).context("no reply arrives")?;
                ensure!(buffer.get(..length) == Some(&*sent), "{size} bytes come back changed");
                ensure!(from == target, "the reply comes from {from}");
            }
            close(far);
            Ok(())
        })
    })
}

#[test]
fn a_port_unreachable_error_reaches_a_machine_outside_of_the_cluster_with_the_services_address()
-> Result<()> {
    on_both_nodes(|cluster, client, backend| {
        datagrams(cluster, client, backend, |near, target, _| {
            let listener = IcmpListener::start(client, target.is_ipv4())?;
            near.connect(target)?;
            near.send(&[1; 100])?;
            let error = near.recv(&mut [0; 64]).err().context("a reply arrives")?;
            ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
            let error = listener.about(target)?;
            ensure!(error.from == target.ip(), "the error comes from {}", error.from);
            ensure!(
                error.source == near.local_addr()?,
                "the error quotes a packet of {}",
                error.source
            );
            Ok(())
        })
    })
}

/// Whether an address belongs to the node, on the underlay or in its pod subnets.
fn is_of(node: &Member, address: IpAddr) -> bool {
    let manifest = node.manifest();
    let mut subnets = manifest.subnets().iter().filter_map(|cidr| cidr.parse::<IpNetwork>().ok());
    manifest.addresses().contains(&address) || subnets.any(|subnet| subnet.contains(address))
}

#[test]
fn a_machine_outside_of_the_cluster_is_refused_by_a_service_without_endpoints() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).underlay(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let backend = Backend::on(node, "backend")?;
        let client = outside(cluster, node)?;
        let service = with(web(Families::Dual), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "backend")?;
            refuses(&client, SocketAddr::new(target.ip(), 81))?;
        }
        cluster.manifests()?.put_service(&service.clone().without_endpoints())?;
        for target in service.frontends() {
            until("the service refuses", || refuses(&client, target))?;
        }
        Ok(())
    })
}
