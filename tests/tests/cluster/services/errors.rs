//! ICMP errors about packets to a Service quote the Service's address, not the backend's.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_ipv6_unicast_hops;
use weir_tests::lab::{AttachedPod, Stack, close, until};

use super::icmp_error::IcmpListener;
use super::testbed::{Case, in_each_case, on_own_testbeds};
use super::transfer::transfer_through_service;
use super::{PORT, any, reaches_by_tcp};

const DEADLINE: Duration = Duration::from_secs(3);

/// A Service of this case whose UDP target is the spare port of the first backend.
fn serve_spare_port(case: &Case<'_>) -> Result<SocketAddr> {
    let service = case.service(3).without_port("udp").port("udp", "UDP", PORT, case.spare_port());
    let backend = &case.backends[0];
    let service = super::with(service, &[backend]);
    case.manifests()?.put_service(&service)?;
    let target = service.frontends()[0];
    reaches_by_tcp(case.client, target, &backend.name)?;
    Ok(target)
}

fn connected(client: &AttachedPod, target: SocketAddr) -> Result<UdpSocket> {
    let socket = client.run(|| {
        let socket = UdpSocket::bind(any(target)).context("bind")?;
        socket.connect(target).context("connect")?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(DEADLINE))?;
    Ok(socket)
}

fn refused(socket: &UdpSocket) -> Result<()> {
    let error = socket.recv(&mut [0; 64]).err().context("a reply arrives")?;
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

#[test]
fn a_port_unreachable_error_of_a_backend_reaches_the_client_with_the_services_address() -> Result<()>
{
    in_each_case(|case| {
        let target = serve_spare_port(case)?;
        let listener = IcmpListener::start(case.client, case.ipv4)?;
        let socket = connected(case.client, target)?;
        socket.send(&[1; 100])?;
        refused(&socket)?;
        let error = listener.about(target)?;
        ensure!(error.from == target.ip(), "the error comes from {}", error.from);
        ensure!(
            error.source == socket.local_addr()?,
            "the error quotes a packet of {}",
            error.source
        );
        Ok(())
    })
}

#[test]
fn a_port_unreachable_error_of_a_client_reaches_the_backend() -> Result<()> {
    in_each_case(|case| {
        let target = serve_spare_port(case)?;
        let pod = &case.backends[0].pod;
        let listen = SocketAddr::new(case.address_of(pod)?, case.spare_port());
        let far = pod.run(|| UdpSocket::bind(listen).context("bind"))?;
        far.set_read_timeout(Some(DEADLINE))?;
        let near = connected(case.client, target)?;
        near.send(&[1; 100])?;
        let (_, peer) = far.recv_from(&mut [0; 200]).context("the backend receives nothing")?;
        close(near);
        let listener = IcmpListener::start(pod, case.ipv4)?;
        far.connect(peer)?;
        far.send(&[2; 100])?;
        refused(&far)?;
        let error = listener.about(peer)?;
        ensure!(error.from == peer.ip(), "the error comes from {}", error.from);
        ensure!(error.source == listen, "the error is {error:?}");
        Ok(())
    })
}

fn with_ttl(socket: &UdpSocket, ipv4: bool, ttl: u8) -> Result<()> {
    if ipv4 {
        socket.set_ttl(ttl.into()).context("set the TTL")
    } else {
        set_ipv6_unicast_hops(socket, Some(ttl)).context("set the hop limit")
    }
}

/// As traceroute does. Packets that bypass the stack pass no router.
#[test]
fn time_exceeded_errors_of_routers_quote_the_service() -> Result<()> {
    in_each_case(|case| {
        let target = case.serve(1, &[&case.backends[0]])?;
        for hop in [1, 2] {
            let listener = IcmpListener::start(case.client, case.ipv4)?;
            let socket = connected(case.client, target)?;
            with_ttl(&socket, case.ipv4, hop)?;
            socket.send(b"?\n")?;
            if case.variant.fast || !case.remote {
                socket
                    .recv(&mut [0; 64])
                    .context("no reply, although there is no router in between")?;
                continue;
            }
            let error = listener.about(target)?;
            let exceeded = if case.ipv4 { 11 } else { 3 };
            ensure!(error.kind == exceeded, "hop {hop}: {error:?}");
            ensure!(
                error.from != target.ip(),
                "the error has the Service's address as its source: {error:?}"
            );
            ensure!(error.source == socket.local_addr()?, "hop {hop}: {error:?}");
        }
        Ok(())
    })
}

/// The path MTU to an address that the client's stack has learned.
fn path_mtu(client: &AttachedPod, target: IpAddr) -> Result<Option<u32>> {
    let route = client.sh(&format!("ip route get {target}"))?;
    let mut words = route.split_whitespace();
    let mtu = words.find(|&word| word == "mtu").and_then(|_| words.next());
    mtu.map(|mtu| mtu.parse().context("not a number")).transpose()
}

#[test]
fn a_client_learns_a_smaller_path_mtu_to_a_service() -> Result<()> {
    const SMALLER: u32 = 1400;
    on_own_testbeds(
        |builder| builder,
        |scope| {
            // Existing pods keep their MTU.
            scope.testbed.cluster().set_mtu(SMALLER)?;
            scope.testbed.cluster().wait_until_ready()?;
            scope.in_each_case(|case| {
                let target = case.serve(1, &[&case.backends[0]])?;
                if !case.remote {
                    return Ok(());
                }
                large_packets_pass(case, target)?;
                let learned = path_mtu(case.client, target.ip())?;
                ensure!(learned.is_some_and(|mtu| mtu <= SMALLER), "{learned:?}");
                Ok(())
            })
        },
    )
}

/// Waits until large datagrams that must not be fragmented pass, then checks TCP.
fn large_packets_pass(case: &Case<'_>, target: SocketAddr) -> Result<()> {
    let socket = connected(case.client, target)?;
    // They are lost until the client has learned the path MTU.
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    until("large datagrams pass", || {
        let _ = socket.send(&[b'?'; 1390]);
        socket.recv(&mut [0; 64]).map(drop).context("no reply")
    })?;
    transfer_through_service(case, 4 << 20)
}
