//! A client in a pod that connects until it gets what is waited for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A connection that is not there by then is tried afresh: the first packets to an address that
/// nobody serves yet are lost.
const CONNECTED: Duration = Duration::from_millis(3);
const ANSWERED: Duration = Duration::from_secs(1);
/// Between a refusal and the next connection.
const PAUSE: Duration = Duration::from_micros(500);

/// What is waited for: an answer of this server at this address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) target: SocketAddr,
    pub(super) server: &'static str,
    pub(super) until: Instant,
}

/// A command line that no other process of this machine has.
pub(super) fn sleep() -> [&'static str; 2] {
    ["sleep", "86399"]
}

/// The network namespace of the process with this command line.
pub(super) fn namespace_of(command: &[&str]) -> Result<File> {
    let wanted: Vec<u8> =
        command.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let process = entry?.path();
        // Many entries are no processes, and some end meanwhile.
        if fs::read(process.join("cmdline")).is_ok_and(|found| found == wanted) {
            let namespace = process.join("ns/net");
            return File::open(&namespace).with_context(|| namespace.display().to_string());
        }
    }
    bail!("no process of the client's pod is there")
}

/// Answers each probe with the time at which it came true.
pub(super) fn serve(
    namespace: &File,
    probes: &Receiver<Probe>,
    answers: &Sender<Result<Instant>>,
) -> Result<()> {
    // This thread alone goes there, and ends there.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter the network namespace of a pod")?;
    for probe in probes {
        if answers.send(wait(&probe)).is_err() {
            break;
        }
    }
    Ok(())
}

fn wait(probe: &Probe) -> Result<Instant> {
    loop {
        match ask(probe.target) {
            Ok((when, server)) if server == probe.server => return Ok(when),
            _ => ensure!(
                Instant::now() < probe.until,
                "{} does not answer at {}",
                probe.server,
                probe.target
            ),
        }
        thread::sleep(PAUSE);
    }
}

/// When a connection was there, and with which server.
fn ask(target: SocketAddr) -> Result<(Instant, String)> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECTED)?;
    let connected = Instant::now();
    stream.set_read_timeout(Some(ANSWERED))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\nHost: pod\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, server) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    Ok((connected, server.trim().to_owned()))
}
