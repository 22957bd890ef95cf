//! TCP between two pods: a stream, or one request at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use weir_tests::lab::Stack;

use crate::pinning::pin;

const DEADLINE: Duration = Duration::from_secs(5);

/// The processors of client and server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    pub(crate) client: usize,
    pub(crate) server: usize,
}

/// The throughput of one stream, in bits per second.
pub(crate) fn throughput(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    time: Duration,
    cpus: Processors,
) -> Result<f64> {
    let (mut near, mut far) = connect(client, server, address)?;
    thread::scope(|scope| {
        let receiver = scope.spawn(move || -> Result<f64> {
            pin(cpus.server)?;
            let (mut buffer, mut received) = (vec![0; 256 << 10], 0_u64);
            let started = Instant::now();
            loop {
                match far.read(&mut buffer).context("the server reads")? {
                    0 => return Ok(received as f64 * 8.0 / started.elapsed().as_secs_f64()),
                    length => received += length as u64,
                }
            }
        });
        run_pinned(cpus.client, || {
            let (bytes, end) = (vec![0x5a; 256 << 10], Instant::now() + time);
            while Instant::now() < end {
                near.write_all(&bytes).context("the client writes")?;
            }
            near.shutdown(std::net::Shutdown::Write).context("the client closes")
        })?;
        receiver.join().map_err(|_| anyhow!("the server panicked"))?
    })
}

/// The rate of requests of one byte per second. Each request is sent after the reply to the last
/// one.
pub(crate) fn request_rate(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    time: Duration,
    cpus: Processors,
) -> Result<f64> {
    let (mut near, mut far) = connect(client, server, address)?;
    thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<()> {
            pin(cpus.server)?;
            let mut byte = [0];
            loop {
                match far.read_exact(&mut byte) {
                    Ok(()) => far.write_all(&byte).context("the server replies")?,
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error).context("the server reads"),
                }
            }
        });
        let rate = run_pinned(cpus.client, || {
            let (started, mut byte, mut replies) = (Instant::now(), [1], 0_u64);
            while started.elapsed() < time {
                near.write_all(&byte).context("the client sends a request")?;
                near.read_exact(&mut byte).context("the client reads")?;
                replies += 1;
            }
            near.shutdown(std::net::Shutdown::Write).context("the client closes")?;
            Ok(replies as f64 / started.elapsed().as_secs_f64())
        })?;
        server.join().map_err(|_| anyhow!("the server panicked"))??;
        Ok(rate)
    })
}

/// Runs `work` on a pinned thread. The caller's thread is not pinned.
fn run_pinned<R: Send>(cpu: usize, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let pinned = || {
        pin(cpu)?;
        work()
    };
    thread::scope(|scope| scope.spawn(pinned).join().map_err(|_| anyhow!("the client panicked"))?)
}

fn connect(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
) -> Result<(TcpStream, TcpStream)> {
    let listener = server.run(|| TcpListener::bind((address, 0)).context("listen"))?;
    let target = listener.local_addr()?;
    let near = client.run(|| TcpStream::connect_timeout(&target, DEADLINE).context("connect"))?;
    let (far, _) = listener.accept().context("accept")?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
    }
    Ok((near, far))
}
