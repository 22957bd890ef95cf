//! Connected UDP sockets of a node's processes whose backend is removed.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Families, Stack, until};

use super::{Backend, TARGET_PORT, web, with};

/// Much longer than a reply takes.
const TIMEOUT: Duration = Duration::from_millis(200);

/// A socket of a process of the node.
fn connect(node: &impl Stack, any: &str, target: SocketAddr) -> Result<UdpSocket> {
    let socket = node.run(|| {
        let socket = UdpSocket::bind(any).context("bind")?;
        socket.connect(target).with_context(|| format!("connect to {target}"))?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// Waits until the socket's peer replies with this name.
fn wait_for_reply(socket: &UdpSocket, name: &str) -> Result<()> {
    until("the backend replies", || {
        socket.send(b"?\n").context("send")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).context("receive")?;
        let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
        ensure!(line.starts_with(name), "{line}");
        Ok(())
    })
}

fn mapped(target: SocketAddr) -> SocketAddr {
    match target.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), target.port()),
        IpAddr::V6(_) => target,
    }
}

#[test]
fn a_connected_udp_socket_fails_when_its_backend_is_removed() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().without_timer().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let (old, new) = (Backend::on(far, "old")?, Backend::on(near, "new")?);
        let before = with(web(Families::Dual), &[&old]);
        cluster.manifests()?.put_service(&before)?;
        let mut service_sockets = Vec::new();
        for target in before.frontends() {
            super::reaches(near, target, "old")?;
            service_sockets.push(connect(
                near,
                if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" },
                target,
            )?);
            if target.is_ipv4() {
                service_sockets.push(connect(near, "[::]:0", mapped(target))?);
            }
        }
        let mut direct = Vec::new();
        for ip in old.pod.addresses() {
            let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            direct.push(connect(near, any, SocketAddr::new(ip, TARGET_PORT))?);
        }
        for socket in service_sockets.iter().chain(&direct) {
            wait_for_reply(socket, "old")?;
        }

        let after = with(web(Families::Dual), &[&new]);
        cluster.manifests()?.put_service(&after)?;
        for socket in &service_sockets {
            until("the socket is closed", || {
                let error = socket.recv(&mut [0; 64]).err().context("a reply arrives")?;
                ensure!(error.kind() == ErrorKind::ConnectionAborted, "{error}");
                Ok(())
            })?;
        }
        for target in after.frontends() {
            let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            wait_for_reply(&connect(near, any, target)?, "new")?;
        }
        // The pod still exists, and sockets that are connected to it directly keep working.
        direct.iter().try_for_each(|socket| wait_for_reply(socket, "old"))
    })
}
