//! A machine that is emulated for one kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::initramfs;
use crate::kept::Kernel;
use crate::suites::Depth;

/// No guest may take longer, in seconds: three times what three of them take on two slow processors.
const fn limit(depth: Depth) -> &'static str {
    match depth {
        Depth::All => "4500",
        Depth::Quick => "1800",
    }
}
/// The kernel's command line: end the emulation at a panic, trust the emulated clock, and spend no
/// instructions on mitigations.
const COMMAND_LINE: &str =
    "console=ttyS0 loglevel=5 panic=-1 mitigations=off tsc=reliable rdinit=/init";

/// What a guest left behind.
pub(crate) struct Logs {
    /// What the suites wrote.
    pub(crate) suites: String,
    /// What the kernel wrote, with its last messages if a suite failed.
    pub(crate) console: String,
}

/// Boots the kernel with the programs, and waits until the guest is switched off.
pub(crate) fn run(kernel: &Kernel, depth: Depth, programs: &Path, folder: &Path) -> Result<Logs> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let (suites, console) = (folder.join("suites.log"), folder.join("console.log"));
    let initramfs = folder.join("initramfs.cpio");
    initramfs::join(&[programs.to_owned(), kernel.modules()], &initramfs)?;
    let errors = folder.join("qemu.log");
    let mut qemu = machine(kernel, &initramfs, [&console, &suites], limit(depth));
    let errors_file =
        File::create(&errors).with_context(|| format!("create {}", errors.display()))?;
    let status = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors_file).status();
    let status = status.context("start qemu-system-x86_64")?;
    fs::remove_file(&initramfs).context("remove the guest's initramfs")?;
    // Exit status 124 is `timeout`'s: then the logs say how far the guest came.
    if !status.success() && status.code() != Some(124) {
        bail!("qemu-system-x86_64 failed: {status}\n{}", read(&errors)?.trim());
    }
    Ok(Logs { suites: read(&suites)?, console: read(&console)? })
}

fn machine(kernel: &Kernel, initramfs: &Path, logs: [&Path; 2], limit: &str) -> Command {
    let mut qemu = Command::new("timeout");
    qemu.args(["--kill-after=10", limit, "qemu-system-x86_64", "-nodefaults", "-no-user-config"]);
    qemu.args(["-display", "none", "-no-reboot", "-m", "1536"]);
    // Emulated, because a machine that is virtual itself seldom has KVM. Time in the guest is
    // counted in its own instructions, and waiting takes none: however busy this machine is, no
    // deadline of a test passes early, and a test that sleeps costs nothing. This needs a single
    // processor.
    qemu.args(["-accel", "tcg", "-icount", "shift=1,sleep=off", "-smp", "1"]);
    // QEMU 7.2 leaves garbage in the flags register after CMPXCHG16B, which Linux from 6.2 on takes
    // memory with: without that feature it does so in another way.
    qemu.args(["-cpu", "max,-cx16"]);
    qemu.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(initramfs);
    qemu.args(["-append", COMMAND_LINE]);
    for log in logs {
        qemu.arg("-serial").arg(format!("file:{}", log.display()));
    }
    qemu
}

fn read(log: &PathBuf) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
