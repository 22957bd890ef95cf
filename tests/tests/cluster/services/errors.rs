//! ICMP errors about packets to a Service speak of the Service, not of its backend.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_ipv6_unicast_hops;
use weir_tests::lab::{Attached, Stack, close, until};

use super::matrix::{Spot, alone_on_each_way, everywhere};
use super::quotation::Listener;
use super::transfer::through_service;
use super::{PORT, any, reaches_by_tcp};

const DEADLINE: Duration = Duration::from_secs(3);

/// A Service of this spot whose datagrams go to the spare port of the first backend.
fn to_spare_port(spot: &Spot<'_>) -> Result<SocketAddr> {
    let service = spot.service(3).without_port("udp").port("udp", "UDP", PORT, spot.spare());
    let backend = &spot.backends[0];
    let service = super::with(service, &[backend]);
    spot.world()?.put_service(&service)?;
    let target = service.targets()[0];
    reaches_by_tcp(spot.client, target, &backend.name)?;
    Ok(target)
}

fn connected(client: &Attached, target: SocketAddr) -> Result<UdpSocket> {
    let socket = client.run(|| {
        let socket = UdpSocket::bind(any(target)).context("bind")?;
        socket.connect(target).context("connect")?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(DEADLINE))?;
    Ok(socket)
}

fn refused(socket: &UdpSocket) -> Result<()> {
    let error = socket.recv(&mut [0; 64]).err().context("somebody answers")?;
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

#[test]
fn a_backend_that_does_not_listen_is_told_to_the_client_as_the_service() -> Result<()> {
    everywhere(|spot| {
        let target = to_spare_port(spot)?;
        let listener = Listener::start(spot.client, spot.ipv4)?;
        let socket = connected(spot.client, target)?;
        socket.send(&[1; 100])?;
        refused(&socket)?;
        let error = listener.about(target)?;
        ensure!(error.from == target.ip(), "it comes from {}", error.from);
        ensure!(error.source == socket.local_addr()?, "it is about a packet of {}", error.source);
        Ok(())
    })
}

#[test]
fn a_client_that_is_gone_is_told_to_the_backend_as_it_knows_it() -> Result<()> {
    everywhere(|spot| {
        let target = to_spare_port(spot)?;
        let pod = &spot.backends[0].pod;
        let listen = SocketAddr::new(spot.address_of(pod)?, spot.spare());
        let far = pod.run(|| UdpSocket::bind(listen).context("bind"))?;
        far.set_read_timeout(Some(DEADLINE))?;
        let near = connected(spot.client, target)?;
        near.send(&[1; 100])?;
        let (_, peer) = far.recv_from(&mut [0; 200]).context("the backend receives nothing")?;
        close(near);
        let listener = Listener::start(pod, spot.ipv4)?;
        far.connect(peer)?;
        far.send(&[2; 100])?;
        refused(&far)?;
        let error = listener.about(peer)?;
        ensure!(error.from == peer.ip(), "it comes from {}", error.from);
        ensure!(error.source == listen, "it is about {error:?}");
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

/// What traceroute does. Past the stack there is no router on the way.
#[test]
fn routers_on_the_way_to_a_service_are_seen_and_name_the_service() -> Result<()> {
    everywhere(|spot| {
        let target = spot.serve(1, &[&spot.backends[0]])?;
        for hop in [1, 2] {
            let listener = Listener::start(spot.client, spot.ipv4)?;
            let socket = connected(spot.client, target)?;
            with_ttl(&socket, spot.ipv4, hop)?;
            socket.send(b"?\n")?;
            if spot.way.fast || !spot.across {
                socket.recv(&mut [0; 64]).context("no router is between, and no answer comes")?;
                continue;
            }
            let error = listener.about(target)?;
            let exceeded = if spot.ipv4 { 11 } else { 3 };
            ensure!(error.kind == exceeded, "hop {hop}: {error:?}");
            ensure!(error.from != target.ip(), "a router has its own address: {error:?}");
            ensure!(error.source == socket.local_addr()?, "hop {hop}: {error:?}");
        }
        Ok(())
    })
}

/// The largest packet that the client's stack sends to an address.
fn path_mtu(client: &Attached, target: IpAddr) -> Result<Option<u32>> {
    let route = client.sh(&format!("ip route get {target}"))?;
    let mut words = route.split_whitespace();
    let mtu = words.find(|&word| word == "mtu").and_then(|_| words.next());
    mtu.map(|mtu| mtu.parse().context("no number")).transpose()
}

#[test]
fn a_client_learns_a_smaller_mtu_through_the_address_of_a_service() -> Result<()> {
    const SMALLER: u32 = 1400;
    alone_on_each_way(
        |builder| builder,
        |part| {
            // Pods keep what they were born with.
            part.stage.cluster().set_mtu(SMALLER)?;
            part.stage.cluster().settled()?;
            part.everywhere(|spot| {
                let target = spot.serve(1, &[&spot.backends[0]])?;
                if !spot.across {
                    return Ok(());
                }
                large_packets_pass(spot, target)?;
                let learned = path_mtu(spot.client, target.ip())?;
                ensure!(learned.is_some_and(|mtu| mtu <= SMALLER), "{learned:?}");
                Ok(())
            })
        },
    )
}

/// Datagrams that may not be cut, and streams.
fn large_packets_pass(spot: &Spot<'_>, target: SocketAddr) -> Result<()> {
    let socket = connected(spot.client, target)?;
    // Each is lost until the client knows better.
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    until("large datagrams pass", || {
        let _ = socket.send(&[b'?'; 1390]);
        socket.recv(&mut [0; 64]).map(drop).context("no answer")
    })?;
    through_service(spot, 4 << 20)
}
