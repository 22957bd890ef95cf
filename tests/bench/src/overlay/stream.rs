//! TCP between two pods for a while: one stream, or one request at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use weir_tests::lab::Stack;

use crate::pinning::pin;

const DEADLINE: Duration = Duration::from_secs(5);

/// Where client and server run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    pub(crate) client: usize,
    pub(crate) server: usize,
}

/// Bits per second of one stream.
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
        pin_here_for(cpus.client, || {
            let (bytes, end) = (vec![0x5a; 256 << 10], Instant::now() + time);
            while Instant::now() < end {
                near.write_all(&bytes).context("the client writes")?;
            }
            near.shutdown(std::net::Shutdown::Write).context("the client closes")
        })?;
        receiver.join().map_err(|_| anyhow!("the server panicked"))?
    })
}

/// Requests of a byte per second, each sent when the one before is answered.
pub(crate) fn request_rate(
    client: &impl Stack,
    server: &impl Stack,
    address: IpAddr,
    time: Duration,
    cpus: Processors,
) -> Result<f64> {
    let (mut near, mut far) = connect(client, server, address)?;
    thread::scope(|scope| {
        let answering = scope.spawn(move || -> Result<()> {
            pin(cpus.server)?;
            let mut byte = [0];
            loop {
                match far.read_exact(&mut byte) {
                    Ok(()) => far.write_all(&byte).context("the server answers")?,
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error).context("the server reads"),
                }
            }
        });
        let rate = pin_here_for(cpus.client, || {
            let (started, mut byte, mut answered) = (Instant::now(), [1], 0_u64);
            while started.elapsed() < time {
                near.write_all(&byte).context("the client asks")?;
                near.read_exact(&mut byte).context("the client reads")?;
                answered += 1;
            }
            near.shutdown(std::net::Shutdown::Write).context("the client closes")?;
            Ok(answered as f64 / started.elapsed().as_secs_f64())
        })?;
        answering.join().map_err(|_| anyhow!("the server panicked"))??;
        Ok(rate)
    })
}

/// On a thread of its own: the caller's goes on where it likes.
fn pin_here_for<R: Send>(cpu: usize, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
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
