//! A running container, attached to the `ctr` that started it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::image;
use super::runtime::{Containerd, LIFETIME, SNAPSHOTTER};
use crate::lab::{Finished, eventually};

const STARTED: Duration = Duration::from_secs(30);

/// A container started by `ctr run --rm --cni`.
///
/// `ctr` stays in the foreground, because only then it calls the plugin when the container has ended.
/// A detached container keeps its network.
#[derive(Debug)]
pub struct Container<'a> {
    runtime: &'a Containerd,
    name: String,
    main: JoinHandle<Result<Finished>>,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Containerd {
    /// Runs `command` as the container `name`, connected to the network by CNI.
    ///
    /// # Errors
    /// When the container does not start; the error holds the output of `ctr`.
    pub fn run(&self, name: &str, command: &[&str]) -> Result<Container<'_>> {
        Container::run(self, name, command)
    }
}

impl<'a> Container<'a> {
    fn run(runtime: &'a Containerd, name: &str, command: &[&str]) -> Result<Self> {
        let run = ["run", "--rm", "--cni", "--snapshotter", SNAPSHOTTER, image::REFERENCE, name];
        let tool = runtime.ctr(&run)?.args(command).deadline(LIFETIME);
        let main = thread::spawn(move || tool.finish());
        let container = Self { runtime, name: name.to_owned(), main };
        let ended = eventually(&format!("container {name} runs"), STARTED, || {
            Ok(container.main.is_finished() || container.is_running()?)
        });
        ended.with_context(|| runtime.log())?;
        if container.main.is_finished() {
            let Finished { status, stderr, .. } = container.join()?;
            bail!("container {name} ended at once: {status}: {stderr}");
        }
        Ok(container)
    }

    /// Runs a program inside and returns its standard output.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        // Each process in a container has a name of its own.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("exec-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let exec = ["task", "exec", "--exec-id", &id, &self.name];
        self.runtime.ctr(&exec)?.args(command).stdout()
    }

    /// The global address of `eth0` as seen inside.
    ///
    /// # Errors
    /// When there is not exactly one of that family.
    pub fn address(&self, family: Family) -> Result<IpAddr> {
        let (option, keyword) = match family {
            Family::V4 => ("-4", "inet"),
            Family::V6 => ("-6", "inet6"),
        };
        let listed = self.exec(&[
            "/bin/busybox",
            "ip",
            option,
            "-o",
            "addr",
            "show",
            "dev",
            "eth0",
            "scope",
            "global",
        ])?;
        let mut words = listed.split_whitespace();
        let mut found = Vec::new();
        while words.by_ref().any(|word| word == keyword) {
            found.extend(words.next());
        }
        let [address] = found.as_slice() else { bail!("expected exactly one address: {listed}") };
        let (address, _length) = address.split_once('/').context("no prefix length")?;
        address.parse().with_context(|| format!("parse the address {address}"))
    }

    /// Sends one echo request to `to` and waits for the reply.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn ping(&self, to: IpAddr) -> Result<()> {
        self.exec(&["/bin/busybox", "ping", "-c", "1", "-W", "5", &to.to_string()])?;
        Ok(())
    }

    /// Kills the container and waits until `ctr` has deleted it and its network.
    ///
    /// # Errors
    /// When `ctr` logged an error or a warning.
    pub fn stop(self) -> Result<()> {
        let kill = ["task", "kill", "--signal", "SIGKILL", &self.name];
        self.runtime.ctr(&kill)?.stdout()?;
        let name = self.name.clone();
        let Finished { stderr, .. } = self.join()?;
        // The output has the plugin's log, too; only lines of ctr itself have `level=`.
        ensure!(!stderr.contains("level="), "ctr when container {name} ended: {stderr}");
        Ok(())
    }

    fn is_running(&self) -> Result<bool> {
        let tasks = self.runtime.ctr(&["task", "list"])?.stdout()?;
        Ok(tasks.lines().any(|line| {
            let mut columns = line.split_whitespace();
            columns.next() == Some(&self.name) && columns.nth(1) == Some("RUNNING")
        }))
    }

    fn join(self) -> Result<Finished> {
        self.main.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
