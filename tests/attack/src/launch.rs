//! Sending frames from the namespace of an attacker.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use weir_tests::lab::{PacketSocket, Stack};

use crate::scene::Scene;

/// Sends frames, and returns when nothing of them is under way any more.
pub(crate) fn launch(
    scene: &Scene,
    from: &impl Stack,
    link: &str,
    frames: &[Vec<u8>],
) -> Result<()> {
    let socket = PacketSocket::open(from, link)?;
    from.run(|| {
        stay_on_this_cpu()?;
        frames.iter().try_for_each(|frame| socket.send(frame))?;
        scene.settle_here()
    })
}

/// Keeps the thread on its CPU: virtual devices work on the CPU of the sender, in the order of sending.
fn stay_on_this_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu());
    sched_setaffinity(None, &cpus).context("stay on one CPU")
}
