//! Measured traffic: connections, requests or a stream, between threads that share a processor.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::setpriority_process;
use serde::Serialize;
use weir_tests::lab::Namespaces;

use crate::pinning::pin;

/// Far more than any reply between two namespaces takes.
const DEADLINE: Duration = Duration::from_secs(5);
/// A request, and the request after which the server ends.
const REQUEST: [u8; 1] = [1];
const END: [u8; 1] = [0];

/// The kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Connections one after the other: connect, send a byte, receive a byte, close.
    Connect,
    /// Requests and replies of one byte, one after the other on one connection.
    Request,
    /// Send as much as possible on one connection.
    Stream,
}

/// Client and server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) client: &'a Namespaces,
    pub(crate) server: &'a Namespaces,
    /// The address that the server listens on.
    pub(crate) listens: SocketAddr,
    /// The address that the client connects to.
    pub(crate) target: SocketAddr,
}

/// The result of a turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    /// Connections, requests or bits per second.
    pub(crate) rate: f64,
    /// The time of each connection or request, in nanoseconds.
    pub(crate) took: Vec<u32>,
}

/// Runs client and server for `time`, both on processor `cpu`.
pub(crate) fn run_exchange(
    kind: Kind,
    ends: &Ends<'_>,
    time: Duration,
    cpu: usize,
) -> Result<Turn> {
    let listener = ends.server.run(|| TcpListener::bind(ends.listens).context("listen"))?;
    thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<f64> {
            run_with_highest_priority(cpu)?;
            match kind {
                Kind::Connect => serve_connections(&listener).map(|()| 0.0),
                Kind::Request => serve_requests(&listener).map(|()| 0.0),
                Kind::Stream => receive(&listener),
            }
        });
        let turn = ends.client.run(|| {
            run_with_highest_priority(cpu)?;
            match kind {
                Kind::Connect => connections(ends.target, time),
                Kind::Request => requests(ends.target, time),
                Kind::Stream => send(ends.target, time).map(|()| Turn::default()),
            }
        });
        if turn.is_err() {
            // Ends the accept of a server that no client has reached.
            let connect = || TcpStream::connect(ends.listens).context("connect to end the server");
            drop(ends.server.run(connect));
        }
        let rate = server.join().map_err(|_| anyhow!("the server panicked"))?;
        let turn = turn?;
        match kind {
            Kind::Connect | Kind::Request => rate.map(|_| turn),
            Kind::Stream => Ok(Turn { rate: rate?, ..turn }),
        }
    })
}

/// Pins the calling thread to a processor and gives it priority over all other work there.
fn run_with_highest_priority(cpu: usize) -> Result<()> {
    pin(cpu)?;
    // On Linux the nice value belongs to a thread, and -20 is the highest priority.
    setpriority_process(None, -20).context("raise the priority")
}

fn serve_connections(listener: &TcpListener) -> Result<()> {
    let mut byte = END;
    loop {
        let (mut far, _) = listener.accept().context("accept")?;
        if far.read(&mut byte).context("the server reads")? == 0 {
            return Ok(());
        }
        far.write_all(&byte).context("the server replies")?;
        // The client closes first, as clients do, and keeps the port for a while.
        far.read(&mut [0]).context("the server waits for the end")?;
        if byte == END {
            return Ok(());
        }
    }
}

fn connections(target: SocketAddr, time: Duration) -> Result<Turn> {
    let once = |mut near: TcpStream, byte: [u8; 1]| -> Result<()> {
        near.write_all(&byte).context("the client sends a request")?;
        near.read_exact(&mut [0]).context("the client reads")
    };
    let first = TcpStream::connect_timeout(&target, DEADLINE).context("connect")?;
    first.set_read_timeout(Some(DEADLINE))?;
    once(first, REQUEST)?;

    let mut took = Vec::with_capacity(1 << 20);
    let started = Instant::now();
    let mut before = started;
    while before - started < time {
        let near = TcpStream::connect(target)
            .with_context(|| format!("connection {} to {target}", took.len()))?;
        once(near, REQUEST)?;
        let now = Instant::now();
        took.push(nanoseconds(now - before));
        before = now;
    }
    once(TcpStream::connect(target).context("the last connection")?, END)?;
    Ok(Turn { rate: per_second(took.len(), before - started), took })
}

fn serve_requests(listener: &TcpListener) -> Result<()> {
    let (mut far, _) = listener.accept().context("accept")?;
    far.set_nodelay(true)?;
    let mut byte = END;
    loop {
        match far.read_exact(&mut byte) {
            Ok(()) => far.write_all(&byte).context("the server replies")?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("the server reads"),
        }
    }
}

fn requests(target: SocketAddr, time: Duration) -> Result<Turn> {
    let mut near = connect(target)?;
    let (mut took, mut byte) = (Vec::with_capacity(1 << 20), REQUEST);
    let started = Instant::now();
    let mut before = started;
    while before - started < time {
        near.write_all(&byte).context("the client sends a request")?;
        near.read_exact(&mut byte).context("the client reads")?;
        let now = Instant::now();
        took.push(nanoseconds(now - before));
        before = now;
    }
    Ok(Turn { rate: per_second(took.len(), before - started), took })
}

fn send(target: SocketAddr, time: Duration) -> Result<()> {
    let mut near = connect(target)?;
    let (bytes, end) = (vec![0x5a; 256 << 10], Instant::now() + time);
    while Instant::now() < end {
        near.write_all(&bytes).context("the client writes")?;
    }
    Ok(())
}

/// Receives until the end, and gives the rate in bits per second.
fn receive(listener: &TcpListener) -> Result<f64> {
    let (mut far, _) = listener.accept().context("accept")?;
    let (mut buffer, mut received) = (vec![0; 256 << 10], 0_u64);
    let started = Instant::now();
    loop {
        match far.read(&mut buffer).context("the server reads")? {
            0 => return Ok(received as f64 * 8.0 / started.elapsed().as_secs_f64()),
            length => received += length as u64,
        }
    }
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    let near = TcpStream::connect_timeout(&target, DEADLINE).context("connect")?;
    near.set_nodelay(true)?;
    near.set_read_timeout(Some(DEADLINE))?;
    near.set_write_timeout(Some(DEADLINE))?;
    Ok(near)
}

fn nanoseconds(took: Duration) -> u32 {
    u32::try_from(took.as_nanos()).unwrap_or(u32::MAX)
}

fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
