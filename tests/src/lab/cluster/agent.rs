//! An agent's process.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};

use crate::lab::node::Node;
use crate::lab::stack::Stack;
use crate::lab::start::start;

/// Much longer than an agent takes to end.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running agent. It is killed when this value is dropped, and when the test's process ends.
#[derive(Debug)]
pub struct Agent {
    pid: u32,
    pidfd: OwnedFd,
    /// The thread that started the agent and waits for its end: the kernel takes the end of that
    /// thread for the end of the parent.
    parent: Option<JoinHandle<Result<ExitStatus>>>,
}

impl Agent {
    /// Starts `program` inside of `node` and appends its output to `log`.
    pub(super) fn start(
        node: &Node,
        program: &Path,
        flags: Vec<String>,
        log: PathBuf,
    ) -> Result<Self> {
        let (started, starting) = sync_channel(1);
        let (node, program) = (node.clone(), program.to_owned());
        let parent = std::thread::spawn(move || {
            node.run(move || {
                let log = OpenOptions::new().create(true).append(true).open(&log);
                let log = log.context("open the agent's log")?;
                let mut command = Command::new(&program);
                command.args(flags).stdin(Stdio::null()).env_remove("WEIR_LOG");
                command.stdout(log.try_clone()?).stderr(log).process_group(0);
                // SAFETY: between fork and exec only one system call is made, which neither
                // allocates nor takes a lock.
                unsafe {
                    command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
                }
                let mut child =
                    start(&mut command).with_context(|| format!("start {}", program.display()))?;
                let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
                // Sending fails only when the test has given up.
                let _ = started.send((child.id(), pidfd.context("pidfd_open")?));
                child.wait().context("wait for the agent")
            })
        });
        match starting.recv() {
            Ok((pid, pidfd)) => Ok(Self { pid, pidfd, parent: Some(parent) }),
            Err(_) => Err(join(parent).err().unwrap_or_else(|| anyhow!("it did not start"))),
        }
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// Never in practice.
    pub fn is_running(&self) -> Result<bool> {
        let zero = Timespec::default();
        let mut end = [PollFd::new(&self.pidfd, PollFlags::IN)];
        Ok(poll(&mut end, Some(&zero)).context("poll")? == 0)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.pidfd, signal).context("send a signal to the agent")
    }

    /// Sends `signal` and waits for its end.
    ///
    /// # Errors
    /// When it had ended before, or does not end within the deadline.
    pub fn end(mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        let limit = Timespec::try_from(DEADLINE).context("a deadline too far away")?;
        let mut ends = [PollFd::new(&self.pidfd, PollFlags::IN)];
        ensure!(poll(&mut ends, Some(&limit))? > 0, "the agent did not end after {signal:?}");
        join(self.parent.take().context("it has ended already")?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(parent) = self.parent.take() {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = join(parent);
        }
    }
}

fn join(parent: JoinHandle<Result<ExitStatus>>) -> Result<ExitStatus> {
    parent.join().map_err(|_| anyhow!("the agent's parent panicked"))?
}
