//! A program that runs to its end inside of a node or a pod.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal,
};

use super::namespaces::Namespaces;
use super::start::start;

/// Longer than any tool of the lab takes, so a tool that reaches it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program with its arguments, environment and standard input.
#[derive(Debug)]
pub struct Tool {
    namespaces: Namespaces,
    command: Command,
    stdin: Vec<u8>,
    deadline: Duration,
}

/// How a [`Tool`] ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status or the signal.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
}

impl Tool {
    pub(super) fn new(namespaces: Namespaces, program: impl AsRef<OsStr>) -> Self {
        let command = Command::new(program);
        Self { namespaces, command, stdin: Vec::new(), deadline: DEADLINE }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts from an empty environment instead of the test's.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// The program's standard input; empty by default.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Kills the program and fails when it takes longer; the default is one minute.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the program. The caller judges its exit status.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn finish(mut self) -> Result<Finished> {
        let namespaces = self.namespaces.clone();
        namespaces.run(move || {
            let mut child = self.spawn()?;
            let (stdin, stdout, stderr) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take());
            thread::scope(|scope| {
                let input = &self.stdin;
                // A program may end without reading its input, so a broken pipe is not an error.
                scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
                let out = scope.spawn(move || drain(stdout));
                let err = scope.spawn(move || drain(stderr));
                let ended = wait(&mut child, self.deadline);
                let (stdout, stderr) = (join(out)?, join(err)?);
                let stderr = String::from_utf8_lossy(&stderr).into_owned();
                let status =
                    ended.with_context(|| format!("{:?} (stderr: {stderr})", self.command))?;
                Ok(Finished { status, stdout, stderr })
            })
        })
    }

    /// Runs the program and returns its standard output.
    ///
    /// # Errors
    /// As [`Tool::finish`], and when the program fails; the error holds its standard error.
    pub fn stdout(self) -> Result<String> {
        let described = format!("{:?}", self.command);
        let Finished { status, stdout, stderr } = self.finish()?;
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        ensure!(status.success(), "{described}: {status}\n{stderr}{stdout}");
        Ok(stdout)
    }

    /// Runs the program and kills it after `delay`, as the kernel does when memory is short. Returns
    /// whether it was still running.
    ///
    /// # Errors
    /// When it cannot be started or ended.
    pub fn kill_after(mut self, delay: Duration) -> Result<bool> {
        let namespaces = self.namespaces.clone();
        namespaces.run(move || {
            let mut child = self.spawn()?;
            let input = child.stdin.take().map(|mut pipe| pipe.write_all(&self.stdin));
            // The program may end before it has read everything; a pipe has no other errors.
            drop(input);
            let ended = ended_within(&child, delay)?;
            child.kill().context("kill")?;
            child.wait().context("wait")?;
            Ok(!ended)
        })
    }

    fn spawn(&mut self) -> Result<Child> {
        self.command.process_group(0);
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only one system call is made, which neither allocates nor
        // takes a lock.
        unsafe {
            self.command.pre_exec(|| {
                // Tools of a killed test are killed, too. The signal comes when the thread that started
                // the program ends; that thread waits for the program.
                Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
            });
        }
        start(&mut self.command)
            .with_context(|| format!("start {}", self.command.get_program().to_string_lossy()))
    }
}

fn wait(child: &mut Child, deadline: Duration) -> Result<ExitStatus> {
    if !ended_within(child, deadline)? {
        // The whole group: a grandchild would keep the pipes open.
        kill_process_group(Pid::from_child(child), Signal::KILL).context("kill the group")?;
        child.wait().context("wait")?;
        bail!("did not end within {deadline:?} and was killed");
    }
    child.wait().context("wait")
}

/// Waits without polling: a pidfd becomes readable when its process ends.
fn ended_within(child: &Child, time: Duration) -> Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("pidfd_open")?;
    let limit = Timespec::try_from(time).context("the deadline is too far away")?;
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).context("poll")?;
    Ok(ended > 0)
}

fn drain(pipe: Option<impl Read>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn join(reader: thread::ScopedJoinHandle<'_, std::io::Result<Vec<u8>>>) -> Result<Vec<u8>> {
    let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    read.context("read the program's output")
}
