//! A program that runs inside of namespaces until it is stopped, or until the test ends.

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

/// Longer than any of them needs to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program with its log. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    pidfd: OwnedFd,
    keeper: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts `command` in the namespaces of `place`; both its outputs are added to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(place: &impl Stack, mut command: Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // SAFETY: between fork and exec only one system call is made, which neither allocates nor
        // takes a lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let namespaces = place.namespaces()?.clone();
        let (sender, started) = mpsc::channel();
        // The signal above comes when the thread that started the program ends: this one stays.
        let keeper = thread::spawn(move || keep(&namespaces, command, &sender));
        let pidfd = started.recv().context("the keeper died")?.with_context(|| name.clone())?;
        Ok(Self { name, log: log.to_owned(), pidfd, keeper: Some(keeper) })
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_running(&self) -> Result<bool> {
        Ok(!self.ends_within(Duration::ZERO)?)
    }

    /// Everything that it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it has to be killed in the end.
    pub fn stop(mut self) -> Result<()> {
        pidfd_send_signal(&self.pidfd, Signal::TERM).context("send SIGTERM")?;
        let ended = self.ends_within(PATIENCE)?;
        self.end();
        ended.then_some(()).with_context(|| format!("{} does not end:\n{}", self.name, self.log()))
    }

    fn ends_within(&self, time: Duration) -> Result<bool> {
        let limit = Timespec::try_from(time).context("too long a time")?;
        Ok(poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&limit))? > 0)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep(namespaces: &Namespaces, mut command: Command, sender: &mpsc::Sender<Result<OwnedFd>>) {
    let outcome = namespaces.run(|| {
        let mut child = command.spawn().context("start it")?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        if sender.send(pidfd.map_err(|errno| anyhow!(errno).context("pidfd_open"))).is_err() {
            child.kill()?;
        }
        child.wait()?;
        Ok(())
    });
    if let Err(error) = outcome {
        // If it had been started before, nobody waits for this any more.
        let _ = sender.send(Err(error));
    }
}
