//! The memory of a plugin and the size of its programs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use weir_tests::lab::{Stack, binary};

use super::contender::{Contender, Families};
use super::sample::Job;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Footprint {
    /// The largest resident set of a process of a call: the plugin or its children.
    pub(crate) peak_memory: u64,
    /// The size of the program files.
    pub(crate) programs: u64,
}

/// The footprints of both contenders.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Footprints {
    pub(crate) weir: Footprint,
    pub(crate) reference: Footprint,
    /// The peak memory of a program that does nothing, measured in the same way.
    pub(crate) memory_floor: u64,
}

/// Calls both plugins, and reads the sizes of their files.
pub(crate) fn of_both(reference: &Path) -> Result<Footprints> {
    let bridge = size(&reference.join("bridge"))? + size(&reference.join("host-local"))?;
    Ok(Footprints {
        weir: Footprint {
            peak_memory: peak_memory(&Contender::weir(Families::Dual)?)?,
            programs: size(&binary("weir-cni")?)?,
        },
        reference: Footprint {
            peak_memory: peak_memory(&Contender::reference(reference, Families::Dual)?)?,
            programs: bridge,
        },
        memory_floor: run(Command::new("true").stdin(Stdio::piped()).stdout(Stdio::piped()), b"")?
            .1,
    })
}

fn size(program: &Path) -> Result<u64> {
    let metadata = fs::metadata(program).with_context(|| program.display().to_string())?;
    Ok(metadata.len())
}

/// The peak of an ADD or a DEL.
fn peak_memory(contender: &Contender) -> Result<u64> {
    let pod = contender.node.pod("memory")?;
    let (added, for_add) = usage(contender, &contender.add(&pod, 0))?;
    let (_, for_del) = usage(contender, &contender.del(&pod, 0, &added)?)?;
    Ok(for_add.max(for_del))
}

fn usage(contender: &Contender, job: &Job) -> Result<(Vec<u8>, u64)> {
    contender.node.run(|| run(&mut job.command(), &job.stdin).with_context(|| job.describe()))
}

/// Runs a program and gives its output and the peak memory of it and its children, in bytes.
fn run(command: &mut Command, stdin: &[u8]) -> Result<(Vec<u8>, u64)> {
    // The peak of a new process includes the time before exec. Any closure here makes the standard
    // library fork, which starts with little memory, instead of sharing this process's memory.
    //
    // SAFETY: the closure does nothing.
    unsafe { command.pre_exec(|| Ok(())) };
    let mut child = command.spawn().context("start")?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program may end without reading.
        let _ = pipe.write_all(stdin);
    }
    let mut stdout = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout).context("read the output")?;
    }
    let (status, peak) = wait(child.id())?;
    ensure!(status.success(), "{status}: {}", String::from_utf8_lossy(&stdout));
    Ok((stdout, peak))
}

/// Waits for a child and gives the peak memory of it and its own children.
fn wait(pid: u32) -> Result<(ExitStatus, u64)> {
    let pid = libc::pid_t::try_from(pid).context("the process ID is too large")?;
    let mut status = 0;
    // SAFETY: all members are plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live during the call, and nobody else waits for
    // this child.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    ensure!(waited == pid, "wait4: {}", std::io::Error::last_os_error());
    let kibibytes = u64::try_from(usage.ru_maxrss).context("a negative size")?;
    Ok((ExitStatus::from_raw(status), kibibytes * 1024))
}
