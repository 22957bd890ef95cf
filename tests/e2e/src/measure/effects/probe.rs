//! A client in a pod that connects until the expected server replies.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// For a connection; then a new one is tried, because the first packets to an address without a
/// Service are lost.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3);
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// Between a failed connection and the next one.
const PAUSE: Duration = Duration::from_micros(500);

/// What to wait for: a reply of this server at this address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) target: SocketAddr,
    pub(super) server: &'static str,
    pub(super) until: Instant,
}

/// A command that does nothing, with arguments that no other process of this host has.
pub(super) fn idle_command() -> [&'static str; 2] {
    ["sleep", "86399"]
}

/// The network namespace of the process with this command line.
pub(super) fn namespace_of(command: &[&str]) -> Result<File> {
    let wanted: Vec<u8> =
        command.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let process = entry?.path();
        // Many entries are not processes, and some processes end meanwhile.
        if fs::read(process.join("cmdline")).is_ok_and(|found| found == wanted) {
            let namespace = process.join("ns/net");
            return File::open(&namespace).with_context(|| namespace.display().to_string());
        }
    }
    bail!("the process of the client's pod was not found")
}

/// Runs the probes one after the other, and sends the time of each reply.
pub(super) fn run_probes(
    namespace: &File,
    probes: &Receiver<Probe>,
    results: &Sender<Result<Instant>>,
) -> Result<()> {
    // Only this thread enters the namespace, and it ends there.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter the network namespace of a pod")?;
    for probe in probes {
        if results.send(wait(&probe)).is_err() {
            break;
        }
    }
    Ok(())
}

fn wait(probe: &Probe) -> Result<Instant> {
    loop {
        match request_name(probe.target) {
            Ok((when, server)) if server == probe.server => return Ok(when),
            _ => ensure!(
                Instant::now() < probe.until,
                "{} does not reply at {}",
                probe.server,
                probe.target
            ),
        }
        thread::sleep(PAUSE);
    }
}

/// The time at which the connection was established, and the name of its server.
fn request_name(target: SocketAddr) -> Result<(Instant, String)> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
    let connected = Instant::now();
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\nHost: pod\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (_, server) = reply.split_once("\r\n\r\n").context("the reply is not HTTP")?;
    Ok((connected, server.trim().to_owned()))
}
