//! A server that replies with its name, over TCP and UDP, and its clients.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, connect_unspec, socket};

use super::stack::Stack;
use super::start::close;

/// Far more than any packet between namespaces of one machine needs.
const DEADLINE: Duration = Duration::from_secs(3);
/// How often a server checks whether it has been stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A server at one port, over TCP and UDP. It ends when this value is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReply {
    /// Its name.
    pub server: String,
    /// The client's address as the server sees it.
    pub client: IpAddr,
}

/// A TCP connection to a server, for any number of requests.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Server {
    /// Starts a server inside of `stack`, at all of its addresses.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(stack: &impl Stack, port: u16, name: &str) -> Result<Self> {
        Self::start_at(stack, SocketAddr::from(([0_u16; 8], port)), name)
    }

    /// Starts a server inside of `stack`, at one address. A stack with several addresses needs this:
    /// the reply to a datagram must come from the address that the datagram was sent to.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_at(stack: &impl Stack, address: SocketAddr, name: &str) -> Result<Self> {
        let (listener, socket) = stack.run(|| {
            let listener = TcpListener::bind(address).context("listen")?;
            Ok((listener, UdpSocket::bind(address).context("bind")?))
        })?;
        set_socket_timeout(&listener, Timeout::Recv, Some(POLL_INTERVAL))
            .context("set a deadline")?;
        socket.set_read_timeout(Some(POLL_INTERVAL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (name, again) = (name.to_owned(), name.to_owned());
        let (stopped, stopped_too) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            thread::spawn(move || {
                accept(&listener, &name, &stopped);
                close(listener);
            }),
            thread::spawn(move || {
                serve_datagrams(&socket, &again, &stopped_too);
                close(socket);
            }),
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It returns nothing.
            let _ = thread.join();
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn start(client: &impl Stack, target: SocketAddr) -> Result<Self> {
        Self::start_within(client, target, DEADLINE)
    }

    fn start_within(client: &impl Stack, target: SocketAddr, timeout: Duration) -> Result<Self> {
        let stream = client.run(|| {
            TcpStream::connect_timeout(&target, timeout)
                .with_context(|| format!("connect to {target}"))
        })?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Connects from a port that other connections of the client may share; 0 is any port.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn start_from(client: &impl Stack, port: u16, target: SocketAddr) -> Result<Self> {
        let stream = client.run(|| {
            let any: SocketAddr = if target.is_ipv4() {
                ([0, 0, 0, 0], port).into()
            } else {
                ([0_u16; 8], port).into()
            };
            let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = socket(family, SocketType::STREAM, None).context("create a socket")?;
            set_socket_reuseaddr(&socket, true).context("share the port")?;
            // It also limits the time to connect.
            set_socket_timeout(&socket, Timeout::Send, Some(DEADLINE)).context("set a deadline")?;
            bind(&socket, &any).with_context(|| format!("bind to port {port}"))?;
            connect(&socket, &target).with_context(|| format!("connect to {target}"))?;
            Ok(TcpStream::from(socket))
        })?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The client's port.
    ///
    /// # Errors
    /// Never in practice.
    pub fn port(&self) -> Result<u16> {
        Ok(self.0.get_ref().local_addr()?.port())
    }

    /// Resets the connection, which leaves no state on either side, even if a program that is being
    /// started has inherited the socket.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn reset(self) -> Result<()> {
        connect_unspec(self.0.get_ref()).context("disconnect")
    }

    /// Asks the server for its name.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn ask(&mut self) -> Result<ServerReply> {
        self.0.get_mut().write_all(b"?\n").context("ask")?;
        let mut line = String::new();
        self.0.read_line(&mut line).context("read the reply")?;
        parse(&line)
    }
}

/// Asks the server at `target` for its name over TCP.
///
/// # Errors
/// When there is no reply.
pub fn ask_tcp(client: &impl Stack, target: SocketAddr) -> Result<ServerReply> {
    ask_tcp_within(client, target, DEADLINE)
}

/// [`ask_tcp`] with another deadline.
///
/// # Errors
/// When there is no reply.
pub fn ask_tcp_within(
    client: &impl Stack,
    target: SocketAddr,
    timeout: Duration,
) -> Result<ServerReply> {
    let asked = Connection::start_within(client, target, timeout)
        .and_then(|mut connection| connection.ask());
    asked.with_context(|| format!("ask {target} over TCP"))
}

/// Asks the server at `target` for its name over UDP.
///
/// # Errors
/// When there is no reply.
pub fn ask_udp(client: &impl Stack, target: SocketAddr) -> Result<ServerReply> {
    ask_udp_within(client, target, DEADLINE)
}

/// [`ask_udp`] with another deadline.
///
/// # Errors
/// When there is no reply.
pub fn ask_udp_within(
    client: &impl Stack,
    target: SocketAddr,
    timeout: Duration,
) -> Result<ServerReply> {
    let ask = || -> Result<ServerReply> {
        let socket = client.run(|| {
            let any: SocketAddr =
                if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).context("bind")?;
            socket.connect(target).context("connect")?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(timeout))?;
        socket.send(b"?\n").context("send")?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).context("receive")?;
        parse(&String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()))
    };
    ask().with_context(|| format!("ask {target} over UDP"))
}

fn parse(line: &str) -> Result<ServerReply> {
    let (server, client) =
        line.trim().split_once(' ').context("the server closed the connection")?;
    Ok(ServerReply { server: server.to_owned(), client: client.parse()? })
}

fn line(name: &str, peer: SocketAddr) -> String {
    format!("{name} {}\n", peer.ip().to_canonical())
}

fn accept(listener: &TcpListener, name: &str, stop: &AtomicBool) {
    thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let Ok((stream, peer)) = listener.accept() else { continue };
            scope.spawn(move || serve(stream, &line(name, peer), stop));
        }
    });
}

fn serve(stream: TcpStream, reply: &str, stop: &AtomicBool) {
    let _ = stream.set_read_timeout(Some(POLL_INTERVAL));
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while !stop.load(Ordering::Relaxed) {
        match stream.read_line(&mut request) {
            Ok(0) => return,
            Ok(_) => {
                request.clear();
                if stream.get_mut().write_all(reply.as_bytes()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn serve_datagrams(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(line(name, peer).as_bytes(), peer);
        }
    }
}
