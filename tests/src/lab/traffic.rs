//! Packets between pods and nodes, each exchange with a deadline.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::stack::Stack;

/// Far more than any packet between namespaces of one machine needs.
const DEADLINE: Duration = Duration::from_secs(5);

/// Sends one echo request from `from` to `to` and waits for the reply.
///
/// # Errors
/// When there is no reply.
pub fn ping(from: &impl Stack, to: IpAddr) -> Result<()> {
    from.command("ping")?
        .args(["-n", "-c", "1", "-w", &DEADLINE.as_secs().to_string(), &to.to_string()])
        .stdout()
        .map(drop)
        .with_context(|| format!("{to} does not reply to ping"))
}

/// Sends `message` over TCP to a server at `address` and gets it back.
///
/// # Errors
/// When the connection fails or the echo differs.
pub fn tcp_echo(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    message: &[u8],
) -> Result<()> {
    with_connection(client, server, address, |near, far| {
        thread::scope(|scope| {
            let echo = scope.spawn(move || -> Result<()> {
                let mut bytes = vec![0; message.len()];
                far.read_exact(&mut bytes).context("the server reads")?;
                far.write_all(&bytes).context("the server writes")
            });
            near.write_all(message).context("the client writes")?;
            let mut echoed = vec![0; message.len()];
            near.read_exact(&mut echoed).context("the client reads")?;
            ensure!(echoed == message, "the echo differs from the message");
            echo.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    })
    .with_context(|| format!("TCP echo with {address}"))
}

/// Sends `length` bytes over TCP to a server at `address`, which counts them.
///
/// # Errors
/// When not all of them arrive.
pub fn tcp_transfer(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    length: usize,
) -> Result<()> {
    with_connection(client, server, address, |near, far| {
        thread::scope(|scope| {
            let counted = scope.spawn(move || std::io::copy(far, &mut std::io::sink()));
            near.write_all(&vec![0x5a; length]).context("the client writes")?;
            near.shutdown(std::net::Shutdown::Write).context("the client closes")?;
            let received = counted.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            ensure!(usize::try_from(received)? == length, "{received} of {length} bytes arrived");
            Ok(())
        })
    })
    .with_context(|| format!("TCP transfer to {address}"))
}

/// Sends a datagram of `size` bytes to a server at `address` and gets it back. A datagram above the
/// MTU is sent in fragments.
///
/// # Errors
/// When it does not come back unchanged.
pub fn udp_echo(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    size: usize,
) -> Result<()> {
    let far = server.run(|| UdpSocket::bind((address, 0)).context("bind the server"))?;
    let near = client.run(|| {
        let socket = UdpSocket::bind(SocketAddr::new(any(address), 0)).context("bind")?;
        socket.connect(far.local_addr()?).context("connect")?;
        Ok(socket)
    })?;
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(DEADLINE))?;
    }
    let message: Vec<u8> = (0..size).map(|i| i.to_le_bytes()[0]).collect();
    let mut buffer = vec![0; size + 1];
    near.send(&message).with_context(|| format!("send {size} bytes to {address}"))?;
    let (length, peer) =
        far.recv_from(&mut buffer).with_context(|| format!("{address} received nothing"))?;
    far.send_to(buffer.get(..length).unwrap_or_default(), peer).context("send the reply")?;
    let length = near.recv(&mut buffer).with_context(|| format!("no reply from {address}"))?;
    ensure!(buffer.get(..length) == Some(&*message), "the datagram came back changed");
    Ok(())
}

/// The client's source address as a server at `address` sees it.
///
/// # Errors
/// When the connection fails.
pub fn observed_source(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
) -> Result<IpAddr> {
    with_connection(client, server, address, |_near, far| Ok(far.peer_addr()?.ip()))
        .with_context(|| format!("TCP connection to {address}"))
}

/// Connects two namespaces. A socket stays in the namespace it was created in, whichever thread uses
/// it afterwards.
fn with_connection<R>(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    talk: impl FnOnce(&mut TcpStream, &mut TcpStream) -> Result<R>,
) -> Result<R> {
    let listener = server.run(|| TcpListener::bind((address, 0)).context("listen"))?;
    set_socket_timeout(&listener, Timeout::Recv, Some(DEADLINE)).context("set a deadline")?;
    let target = listener.local_addr()?;
    let mut near =
        client.run(|| TcpStream::connect_timeout(&target, DEADLINE).context("connect"))?;
    let (mut far, _) = listener.accept().context("accept")?;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
    }
    talk(&mut near, &mut far)
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}
