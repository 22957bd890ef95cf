//! What is measured: connections, requests and a stream, between threads that share a processor.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::setpriority_process;
use serde::Serialize;
use weir_tests::lab::Namespaces;

use crate::pinning::pin;

/// Far more than any answer between two namespaces takes.
const DEADLINE: Duration = Duration::from_secs(5);
/// A request, and the one after which the server ends.
const ASK: [u8; 1] = [1];
const END: [u8; 1] = [0];

/// What client and server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Connect, ask for a byte, get one, close; one connection after the other.
    Connect,
    /// Ask for a byte and get one, again and again on one connection.
    Request,
    /// Send as much as possible on one connection.
    Stream,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) client: &'a Namespaces,
    pub(crate) server: &'a Namespaces,
    /// Where the server listens.
    pub(crate) listens: SocketAddr,
    /// Where the client finds it.
    pub(crate) target: SocketAddr,
}

/// What came of a turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    /// Per second: connections, requests, or bits.
    pub(crate) rate: f64,
    /// Nanoseconds that each connection or request took.
    pub(crate) took: Vec<u32>,
}

/// Lets the two talk for a while, both on processor `cpu`.
pub(crate) fn talk(kind: Kind, ends: &Ends<'_>, time: Duration, cpu: usize) -> Result<Turn> {
    let listener = ends.server.run(|| TcpListener::bind(ends.listens).context("listen"))?;
    thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<f64> {
            come_first_on(cpu)?;
            match kind {
                Kind::Connect => answer_connections(&listener).map(|()| 0.0),
                Kind::Request => answer_requests(&listener).map(|()| 0.0),
                Kind::Stream => receive(&listener),
            }
        });
        let turn = ends.client.run(|| {
            come_first_on(cpu)?;
            match kind {
                Kind::Connect => connections(ends.target, time),
                Kind::Request => requests(ends.target, time),
                Kind::Stream => send(ends.target, time).map(|()| Turn::default()),
            }
        });
        if turn.is_err() {
            // Wakes a server that nobody has reached.
            let wake = || TcpStream::connect(ends.listens).context("wake the server");
            drop(ends.server.run(wake));
        }
        let rate = server.join().map_err(|_| anyhow!("the server panicked"))?;
        let turn = turn?;
        match kind {
            Kind::Connect | Kind::Request => rate.map(|_| turn),
            Kind::Stream => Ok(Turn { rate: rate?, ..turn }),
        }
    })
}

/// Whatever else the machine does on this processor waits for the calling thread.
fn come_first_on(cpu: usize) -> Result<()> {
    pin(cpu)?;
    // Of the kernel's priorities, which are a thread's, none is higher.
    setpriority_process(None, -20).context("raise the priority")
}

fn answer_connections(listener: &TcpListener) -> Result<()> {
    let mut byte = END;
    loop {
        let (mut far, _) = listener.accept().context("accept")?;
        if far.read(&mut byte).context("the server reads")? == 0 {
            return Ok(());
        }
        far.write_all(&byte).context("the server answers")?;
        // The client closes first, as clients do, and keeps the port for a while.
        far.read(&mut [0]).context("the server waits for the end")?;
        if byte == END {
            return Ok(());
        }
    }
}

fn connections(target: SocketAddr, time: Duration) -> Result<Turn> {
    let once = |mut near: TcpStream, byte: [u8; 1]| -> Result<()> {
        near.write_all(&byte).context("the client asks")?;
        near.read_exact(&mut [0]).context("the client reads")
    };
    let first = TcpStream::connect_timeout(&target, DEADLINE).context("connect")?;
    first.set_read_timeout(Some(DEADLINE))?;
    once(first, ASK)?;

    let mut took = Vec::with_capacity(1 << 20);
    let started = Instant::now();
    let mut before = started;
    while before - started < time {
        let near = TcpStream::connect(target)
            .with_context(|| format!("connection {} to {target}", took.len()))?;
        once(near, ASK)?;
        let now = Instant::now();
        took.push(nanoseconds(now - before));
        before = now;
    }
    once(TcpStream::connect(target).context("the last connection")?, END)?;
    Ok(Turn { rate: per_second(took.len(), before - started), took })
}

fn answer_requests(listener: &TcpListener) -> Result<()> {
    let (mut far, _) = listener.accept().context("accept")?;
    far.set_nodelay(true)?;
    let mut byte = END;
    loop {
        match far.read_exact(&mut byte) {
            Ok(()) => far.write_all(&byte).context("the server answers")?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("the server reads"),
        }
    }
}

fn requests(target: SocketAddr, time: Duration) -> Result<Turn> {
    let mut near = connect(target)?;
    let (mut took, mut byte) = (Vec::with_capacity(1 << 20), ASK);
    let started = Instant::now();
    let mut before = started;
    while before - started < time {
        near.write_all(&byte).context("the client asks")?;
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

/// Bits per second.
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
