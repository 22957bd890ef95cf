//! A program that runs in namespaces until it is stopped, or until the test ends.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};
use weir_tests::lab::{Namespaces, Stack};

/// Longer than any program needs to end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running program with its log. Dropping it kills the program.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    pidfd: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts `command` in the namespaces of `stack`. Its standard output and error are appended to
    /// `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(stack: &impl Stack, mut command: Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // SAFETY: between fork and exec only one system call is made, which neither allocates nor
        // takes a lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let namespaces = stack.namespaces()?.clone();
        let (sender, started) = mpsc::channel();
        // The kernel sends the signal above when the thread that started the program ends. This
        // thread waits for the program.
        let thread = thread::spawn(move || run_to_end(&namespaces, command, &sender));
        let pidfd = started
            .recv()
            .context("the thread of the program panicked")?
            .with_context(|| name.clone())?;
        Ok(Self { name, log: log.to_owned(), pidfd, thread: Some(thread) })
    }

    /// Whether it is running.
    ///
    /// # Errors
    /// When poll(2) fails.
    pub fn is_running(&self) -> Result<bool> {
        Ok(!self.ends_within(Duration::ZERO)?)
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it must be killed.
    pub fn stop(mut self) -> Result<()> {
        pidfd_send_signal(&self.pidfd, Signal::TERM).context("send SIGTERM")?;
        let ended = self.ends_within(TIMEOUT)?;
        self.end();
        ended.then_some(()).with_context(|| format!("{} does not end:\n{}", self.name, self.log()))
    }

    fn ends_within(&self, time: Duration) -> Result<bool> {
        let limit = Timespec::try_from(time).context("the time is too long")?;
        Ok(poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&limit))? > 0)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn run_to_end(
    namespaces: &Namespaces,
    mut command: Command,
    sender: &mpsc::Sender<Result<OwnedFd>>,
) {
    let outcome = namespaces.run(|| {
        let mut child = command.spawn().context("start the program")?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        if sender.send(pidfd.map_err(|errno| anyhow!(errno).context("pidfd_open"))).is_err() {
            child.kill()?;
        }
        child.wait()?;
        Ok(())
    });
    if let Err(error) = outcome {
        // After a successful start, the receiver is gone already.
        let _ = sender.send(Err(error));
    }
}
