//! A Service without endpoints refuses connections at once.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_tests::lab::{Cluster, Families, Stack, until};

use super::{Backend, any, reaches, served, web, with};

/// TCP retransmits a SYN after a second, so a refusal within this time is that of the first SYN.
const FIRST_TRY: Duration = Duration::from_millis(900);

pub(super) fn refuses(client: &impl Stack, target: SocketAddr) -> Result<()> {
    match client.run(|| Ok(TcpStream::connect_timeout(&target, FIRST_TRY)))? {
        Ok(_) => bail!("{target} accepts connections"),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::ConnectionRefused, "{target}: {error}");
            Ok(())
        }
    }
}

#[test]
fn a_service_without_endpoints_refuses_connections_at_once() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let client = node.pod("client")?;
        let backend = Backend::on(node, "backend")?;
        let service = with(web(Families::Dual), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "backend")?;
        }
        cluster.manifests()?.put_service(&service.clone().without_endpoints())?;
        for target in service.frontends() {
            until("the service refuses", || refuses(&client, target))?;
            refuses(node, target).context("a process of the node")?;
        }
        Ok(())
    })
}

#[test]
fn an_unknown_port_of_a_service_is_refused_at_once() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let (client, backend) = (node.pod("client")?, Backend::on(node, "backend")?);
        let service = with(web(Families::Dual), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "backend")?;
            refuses(&client, SocketAddr::new(target.ip(), 81))?;
        }
        Ok(())
    })
}

#[test]
fn the_agent_logs_refused_packets_if_configured() -> Result<()> {
    Cluster::new(1).services().flag("--packet-log=refused").test(|cluster| {
        let node = cluster.node(1)?;
        let (client, target, _backend) = served(cluster)?;
        refuses(&client, SocketAddr::new(target.ip(), 81))?;
        let packet = format!("to {} port 81 protocol 6", target.ip());
        until("the packet is logged", || {
            let log = node.log();
            let line = log.lines().find(|line| line.contains(&packet));
            ensure!(line.is_some_and(|line| line.contains("rejected_no_port")), "{line:?}");
            Ok(())
        })?;
        ensure!(!node.log().contains("opened a flow"), "packets of other kinds are logged");
        Ok(())
    })
}

/// Checks that a datagram is refused by an ICMP error, which the next call of the socket returns.
fn refuses_datagrams(client: &impl Stack, target: SocketAddr) -> Result<()> {
    let socket = client.run(|| Ok(UdpSocket::bind(any(target))?))?;
    socket.set_read_timeout(Some(FIRST_TRY))?;
    let asked = client.run(|| Ok(socket.connect(target).and_then(|()| socket.send(b"?\n"))))?;
    match asked.and_then(|_| socket.recv(&mut [0; 64])) {
        Ok(_) => bail!("{target} accepts connections"),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::ConnectionRefused, "{target}: {error}");
            Ok(())
        }
    }
}

#[test]
fn datagrams_to_a_service_without_endpoints_or_to_an_unknown_port_are_refused() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let client = node.pod("client")?;
        let service = web(Families::Dual);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            until("the service refuses", || refuses_datagrams(&client, target))?;
            refuses_datagrams(&client, SocketAddr::new(target.ip(), 81))?;
            refuses_datagrams(node, target).context("a process of the node")?;
        }
        Ok(())
    })
}
