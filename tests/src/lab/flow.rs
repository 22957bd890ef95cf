//! A continuous flow of datagrams, counted on both ends while a test does something else.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::stack::Stack;

/// The time between two datagrams.
const PACE: Duration = Duration::from_millis(2);
/// The most datagrams of a flow that is not stopped.
const LIMIT: u64 = 60_000;
/// A receive buffer for all datagrams of a flow with the kernel's overhead, in bytes.
const BUFFER: usize = 64 << 20;
/// The time without a datagram after which the server considers the flow finished.
const SILENCE: Duration = Duration::from_millis(1500);

/// Datagrams at a constant rate from a client to a server, which echoes each one.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    echo: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<u64>>,
}

/// The datagrams that both ends have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Datagrams that arrived at the server.
    pub arrived: u64,
    /// Echoes that arrived at the client.
    pub returned: u64,
}

impl Flow {
    /// Starts a flow to a server at `address`.
    ///
    /// # Errors
    /// When a socket cannot be created.
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
            // A thread that waits for a CPU must not lose delivered datagrams.
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

    /// Stops the flow, and waits for datagrams in flight.
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
    /// Datagrams without an echo.
    #[must_use]
    pub fn lost(self) -> u64 {
        self.sent - self.returned
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool) -> Result<u64> {
    let mut next = Instant::now();
    let mut sent = 0;
    while sent < LIMIT && !stop.load(Ordering::Relaxed) {
        // A datagram without a route is lost.
        let _ = socket.send(&u64::to_be_bytes(sent));
        sent += 1;
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}

/// Counts datagrams until none arrive any more; echoes each one if `echo` is set.
fn receive(socket: &UdpSocket, echo: bool) -> Result<u64> {
    let mut received = 0;
    let mut buffer = [0; 64];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, peer)) => {
                received += 1;
                if echo {
                    let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), peer);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(received),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("receive"),
        }
    }
}
