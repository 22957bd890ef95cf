//! Processes of the node, whose sockets are translated.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;

use anyhow::{Context, Result};
use weir_datapath::common::{Backend, Config, Reason, V4, V6, halves, map, protocol};
use weir_datapath::{attach_sockets, netns_cookie};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::{bound, tcp, udp, udp_between, unspecified};

/// The cgroup that this process is in. The programs are attached there, and heed the scene's
/// network namespace only.
pub(crate) fn own_cgroup() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2")).context("no cgroup2")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).context("in no cgroup2")?;
    Ok(PathBuf::from(mount[1]).join(own))
}

/// A scene whose programs know its namespace.
///
/// There is none on kernels before 5.14, which do not tell a process its namespace's cookie. There
/// the initial namespace is the node's, and what is asserted is that this one is left alone.
fn scene(pods: u8) -> Result<Option<Scene>> {
    let scene = Scene::with_pods(pods)?;
    let cgroup = own_cgroup()?;
    scene.node.run(|| Ok(attach_sockets(&scene.pins, &cgroup)?))?;
    let Some(cookie) = scene.node.run(|| Ok(netns_cookie()?))? else {
        is_left_alone(scene)?;
        return Ok(None);
    };
    scene.set(Config { netns_cookie: halves(cookie), ..Config::default() })?;
    Ok(Some(scene))
}

/// The version of the kernel that runs this.
fn kernel() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']);
    let mut next = || numbers.next().context("no version");
    Ok((next()?.parse()?, next()?.parse()?))
}

fn is_left_alone(mut scene: Scene) -> Result<()> {
    let vip = V4::service(10);
    scene.service::<V4>((vip, 80, protocol::TCP), &[])?;
    let target = (IpAddr::from(vip), 80);
    let error = scene.node.run(|| Ok(TcpStream::connect(target).err()))?;
    let kind = error.map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::NetworkUnreachable), "the node has no route to it");
    assert_eq!(scene.counted(Reason::SocketRefused)?, 0);
    Ok(())
}

#[test]
fn a_namespace_that_is_not_the_nodes_is_left_alone() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let cgroup = own_cgroup()?;
    scene.node.run(|| Ok(attach_sockets(&scene.pins, &cgroup)?))?;
    is_left_alone(scene)
}

fn reaches_a_backend<A: Addresses>() -> Result<()> {
    let Some(mut scene) = scene(1)? else { return Ok(()) };
    let (vip, backend) = (A::service(10), A::pod(0));
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let (client, server) = (&scene.node, &scene.pods[0]);
    let seen = tcp(client, server, address(backend, 8080), address(vip, 80), 100_000)?;
    assert_eq!(seen.client.ip(), A::bridge().into());
    udp(client, server, address(backend, 5353), address(vip, 53), 500)?;

    let far = server.run(|| Ok(bound(|| UdpSocket::bind(address(backend, 5353)))?))?;
    let near = client.run(|| {
        let socket = UdpSocket::bind((unspecified(vip.into()), 0))?;
        socket.connect(address(vip, 53))?;
        Ok(socket)
    })?;
    assert_eq!(near.peer_addr()?, address(vip, 53), "it sees whom it asked for");
    near.send(b"hello")?;
    let mut buffer = [0; 10];
    let (length, peer) = far.recv_from(&mut buffer)?;
    far.send_to(&buffer[..length], peer)?;
    assert_eq!(near.recv_from(&mut buffer)?, (5, address(vip, 53)));
    Ok(())
}

#[test]
fn a_process_of_the_node_reaches_a_backend_by_ipv4() -> Result<()> {
    reaches_a_backend::<V4>()
}

#[test]
fn a_process_of_the_node_reaches_a_backend_by_ipv6() -> Result<()> {
    reaches_a_backend::<V6>()
}

#[test]
fn an_ipv6_socket_of_the_node_reaches_an_ipv4_service() -> Result<()> {
    let Some(mut scene) = scene(1)? else { return Ok(()) };
    let (vip, backend) = (V4::service(10), V4::pod(0));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let far = scene.pods[0].run(|| Ok(UdpSocket::bind(SocketAddr::new(backend.into(), 5353))?))?;
    let near = scene.node.run(|| Ok(UdpSocket::bind("[::]:0")?))?;
    let IpAddr::V4(v4) = IpAddr::from(vip) else { unreachable!() };
    udp_between(&near, &far, SocketAddr::new(v4.to_ipv6_mapped().into(), 53), 100)?;
    Ok(())
}

#[test]
fn a_process_of_the_node_is_refused_where_nobody_listens() -> Result<()> {
    let Some(mut scene) = scene(0)? else { return Ok(()) };
    scene.service::<V4>((V4::service(10), 80, protocol::TCP), &[])?;
    scene.service::<V6>((V6::service(10), 80, protocol::TCP), &[])?;
    for vip in [IpAddr::from(V4::service(10)), V6::service(10).into()] {
        for port in [80, 81] {
            let error = scene.node.run(|| Ok(TcpStream::connect((vip, port)).err()))?;
            let kind = error.map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{vip} port {port}");
        }
    }
    assert_eq!(scene.counted(Reason::SocketRefused)?, 4);
    // A datagram too; kernels before 5.18 can only say that it is not permitted.
    let error = scene.node.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        Ok(socket.send_to(&[1], (IpAddr::from(V4::service(10)), 53)).err())
    })?;
    let kind = error.map(|error| error.kind()).context("it is sent")?;
    let can_tell = kernel()? >= (5, 18);
    let expected =
        if can_tell { ErrorKind::ConnectionRefused } else { ErrorKind::PermissionDenied };
    assert_eq!(kind, expected);
    Ok(())
}

#[test]
fn a_pods_socket_is_left_to_its_veth() -> Result<()> {
    let Some(mut scene) = scene(2)? else { return Ok(()) };
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    let address = |address: V4, port| SocketAddr::new(address.into(), port);
    tcp(&scene.pods[0], &scene.pods[1], address(backend, 8080), address(vip, 80), 10)?;
    assert_eq!(scene.counted(Reason::SocketTranslated)?, 0);
    assert_eq!(scene.counted(Reason::FlowOpened)?, 1);
    Ok(())
}

#[test]
fn an_unconnected_socket_keeps_its_backend_while_that_serves() -> Result<()> {
    let Some(mut scene) = scene(2)? else { return Ok(()) };
    let vip = V4::service(10);
    let address = |address: V4, port| SocketAddr::new(address.into(), port);
    let listen = |scene: &Scene, pod: u8| {
        scene.pods[usize::from(pod)].run(|| Ok(UdpSocket::bind(address(V4::pod(pod), 5353))?))
    };
    let (first, second) = (listen(&scene, 0)?, listen(&scene, 1)?);
    let near = scene.node.run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    let ids = scene.service((vip, 53, protocol::UDP), &[(V4::pod(0), 5353)])?;
    udp_between(&near, &first, address(vip, 53), 100)?;
    scene.service((vip, 53, protocol::UDP), &[(V4::pod(1), 5353)])?;
    udp_between(&near, &first, address(vip, 53), 100)?;
    scene.table::<u32, Backend<V4>>(map::BACKENDS_V4)?.remove(&ids[0])?;
    udp_between(&near, &second, address(vip, 53), 100)?;
    Ok(())
}
