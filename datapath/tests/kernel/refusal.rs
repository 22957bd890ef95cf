//! What a client is told when there is nobody to talk to.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use weir_datapath::common::{Reason, Service, V4, V6, protocol};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::{DEADLINE, unspecified};

/// Less than the time after which a client that ignored the answer would ask again.
const AT_ONCE: Duration = Duration::from_millis(900);

fn tcp_error(client: &impl Stack, target: SocketAddr) -> Result<ErrorKind> {
    client.run(|| {
        let error = TcpStream::connect_timeout(&target, AT_ONCE).err().context("it connects")?;
        Ok(error.kind())
    })
}

fn udp_error(client: &impl Stack, target: SocketAddr) -> Result<ErrorKind> {
    client.run(|| {
        let socket = UdpSocket::bind((unspecified(target.ip()), 0))?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.connect(target)?;
        socket.send(&[7; 1200])?;
        Ok(socket.recv(&mut [0; 10]).err().context("it is answered")?.kind())
    })
}

fn refuses<A: Addresses>() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let vip = A::service(10);
    let address = |port| SocketAddr::new(vip.into(), port);
    scene.service::<A>((vip, 80, protocol::TCP), &[])?;
    scene.service::<A>((vip, 53, protocol::UDP), &[])?;
    for offload in ["on", "off"] {
        scene.pods[0].sh(&format!("ethtool -K eth0 tx {offload}"))?;
        scene.node.sh(&format!("ethtool -K veth0 tx {offload}"))?;
        let client = &scene.pods[0];
        assert_eq!(tcp_error(client, address(80))?, ErrorKind::ConnectionRefused, "tx {offload}");
        assert_eq!(udp_error(client, address(53))?, ErrorKind::ConnectionRefused, "tx {offload}");
        assert_eq!(tcp_error(client, address(81))?, ErrorKind::ConnectionRefused, "no such port");
        assert_eq!(udp_error(client, address(54))?, ErrorKind::ConnectionRefused, "no such port");
    }
    assert_eq!(scene.counted(Reason::RejectedNoBackend)?, 4);
    assert_eq!(scene.counted(Reason::RejectedNoPort)?, 4);
    Ok(())
}

#[test]
fn a_service_without_backends_refuses_at_once_by_ipv4() -> Result<()> {
    refuses::<V4>()
}

#[test]
fn a_service_without_backends_refuses_at_once_by_ipv6() -> Result<()> {
    refuses::<V6>()
}

#[test]
fn a_ping_of_a_service_is_refused() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    scene.service::<V4>((V4::service(10), 80, protocol::TCP), &[])?;
    scene.service::<V6>((V6::service(10), 80, protocol::TCP), &[])?;
    for address in [V4::service(10).to_string(), V6::service(10).to_string()] {
        let ping = scene.pods[0].command("ping")?.args(["-c1", "-W2", &address]).finish()?;
        let text = String::from_utf8(ping.stdout)?.to_lowercase();
        assert!(text.contains("port unreachable"), "{address}: {text}");
    }
    Ok(())
}

#[test]
fn a_policy_that_allows_no_backend_drops_silently() -> Result<()> {
    let mut scene = Scene::with_pods(1)?;
    let vip = V4::service(10);
    let service = Service { flags: Service::DROP_IF_EMPTY, ..Service::default() };
    scene.service_with::<V4>((vip, 80, protocol::TCP), &[], service)?;
    let kind = tcp_error(&scene.pods[0], SocketAddr::new(vip.into(), 80))?;
    assert_eq!(kind, ErrorKind::TimedOut);
    assert_eq!(scene.counted(Reason::DroppedLocalPolicy)?, 1);
    Ok(())
}
