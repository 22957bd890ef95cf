//! A flow that goes on while something else happens, counted on both ends.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::namespaces::Stack;

/// A datagram each.
const PACE: Duration = Duration::from_millis(2);
/// A flow that nobody stops ends by itself.
const LIMIT: u64 = 60_000;
/// Room for all datagrams of a flow, with what the kernel adds to each, in bytes.
const BUFFER: usize = 64 << 20;
/// The silence after which the far end takes the flow for finished.
const SILENCE: Duration = Duration::from_millis(1500);

/// Datagrams at a steady pace from one namespace to another, which sends each one back.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    echo: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<u64>>,
}

/// What both ends have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Those that arrived at the far end.
    pub arrived: u64,
    /// Those that came back.
    pub returned: u64,
}

impl Flow {
    /// Starts a flow to a server at `address`.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn start(client: &impl Stack, server: &impl Stack, address: IpAddr) -> Result<Self> {
        let far = server.run(|| UdpSocket::bind((address, 0)).context("bind the server"))?;
        let near = client.run(|| {
            let any: SocketAddr =
                if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().context("any")?;
            let socket = UdpSocket::bind(any).context("bind")?;
            socket.connect(far.local_addr()?).context("connect")?;
            Ok(socket)
        })?;
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(SILENCE))?;
            // An end that waits for a processor must not lose what the network has delivered.
            set_socket_recv_buffer_size_force(socket, BUFFER).context("enlarge the buffer")?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (back, stopped) = (near.try_clone()?, Arc::clone(&stop));
        Ok(Self {
            stop,
            sender: thread::spawn(move || send(&near, &stopped)),
            echo: thread::spawn(move || receive(&far, true)),
            receiver: thread::spawn(move || receive(&back, false)),
        })
    }

    /// Stops it, and waits for what is still under way.
    ///
    /// # Errors
    /// When a socket failed.
    pub fn stop(self) -> Result<Tally> {
        let Self { stop, sender, echo, receiver } = self;
        stop.store(true, Ordering::Relaxed);
        let joined = |thread: JoinHandle<Result<u64>>| {
            thread.join().map_err(|_| anyhow!("an end of the flow panicked"))?
        };
        Ok(Tally { sent: joined(sender)?, arrived: joined(echo)?, returned: joined(receiver)? })
    }
}

impl Tally {
    /// Datagrams that did not arrive, or whose answer did not.
    #[must_use]
    pub fn lost(self) -> u64 {
        self.sent - self.returned
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool) -> Result<u64> {
    let mut next = Instant::now();
    let mut sent = 0;
    while sent < LIMIT && !stop.load(Ordering::Relaxed) {
        // A datagram that the kernel has no way for is one that was lost.
        let _ = socket.send(&u64::to_be_bytes(sent));
        sent += 1;
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}

/// Counts until it is silent; sends back what came, if asked to.
fn receive(socket: &UdpSocket, answer: bool) -> Result<u64> {
    let mut received = 0;
    let mut buffer = [0; 64];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, peer)) => {
                received += 1;
                if answer {
                    let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), peer);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(received),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("receive"),
        }
    }
}
