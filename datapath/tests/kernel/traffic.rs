//! Exchanges between namespaces by way of a Service, each with a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use weir_tests::lab::Stack;

/// Far more than a packet between namespaces needs, and less than a retransmission.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// Who the two ends of a connection saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The address that the server saw its client by.
    pub(crate) client: SocketAddr,
}

/// Connects to `target` and has `server`, which listens at `listen`, send `length` bytes back.
pub(crate) fn tcp(
    client: &impl Stack,
    server: &impl Stack,
    listen: SocketAddr,
    target: SocketAddr,
    length: usize,
) -> Result<Seen> {
    let listener = server.run(|| bound(|| TcpListener::bind(listen)).context("listen"))?;
    // A handshake can end for the client alone.
    set_socket_timeout(&listener, Timeout::Recv, Some(DEADLINE))?;
    let mut near = client
        .run(|| TcpStream::connect_timeout(&target, DEADLINE).context("connect"))
        .with_context(|| format!("to {target}"))?;
    let (mut far, peer) = listener.accept().context("accept")?;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
    }
    let message: Vec<u8> = (0..length).map(|i| i.to_le_bytes()[i % 2]).collect();
    let mut sender = near.try_clone()?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| -> Result<()> {
            let mut bytes = vec![0; length];
            far.read_exact(&mut bytes).context("the server reads")?;
            far.write_all(&bytes).context("the server writes")
        });
        let sent = scope.spawn(|| sender.write_all(&message).context("the client writes"));
        let mut answer = vec![0; length];
        near.read_exact(&mut answer).context("the client reads")?;
        ensure!(answer == message, "the echo differs");
        sent.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        echo.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    ensure!(near.peer_addr()? == target, "the client sees another server");
    Ok(Seen { client: peer })
}

/// Sends a datagram of `size` bytes to `target` and has `server` at `listen` send it back. The
/// client's socket is not connected, so it sees who answers.
pub(crate) fn udp(
    client: &impl Stack,
    server: &impl Stack,
    listen: SocketAddr,
    target: SocketAddr,
    size: usize,
) -> Result<Seen> {
    let far = server.run(|| bound(|| UdpSocket::bind(listen)).context("bind the server"))?;
    let near = client.run(|| UdpSocket::bind((unspecified(target.ip()), 0)).context("bind"))?;
    udp_between(&near, &far, target, size)
}

/// The same between sockets that are there already.
pub(crate) fn udp_between(
    near: &UdpSocket,
    far: &UdpSocket,
    target: SocketAddr,
    size: usize,
) -> Result<Seen> {
    for socket in [near, far] {
        socket.set_read_timeout(Some(DEADLINE))?;
    }
    let message: Vec<u8> = (0..size).map(|i| i.to_le_bytes()[i % 2]).collect();
    near.send_to(&message, target).with_context(|| format!("send {size} bytes to {target}"))?;
    let mut buffer = vec![0; size + 1];
    let (length, peer) = far.recv_from(&mut buffer).context("the server receives nothing")?;
    far.send_to(&buffer[..length], peer).context("the server answers")?;
    let (length, from) = near.recv_from(&mut buffer).context("the client gets no answer")?;
    ensure!(buffer[..length] == message, "the datagram came back changed");
    ensure!(from == target, "the answer to {target} comes from {from}");
    Ok(Seen { client: peer })
}

pub(crate) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Binds to an address that an earlier socket had, which a program that another test starts just
/// now may hold for a moment longer.
pub(crate) fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
    let start = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < DEADLINE => {
                std::thread::yield_now();
            }
            result => return result,
        }
    }
}
