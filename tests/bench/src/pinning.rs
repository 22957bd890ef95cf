//! Threads pinned to a processor.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Pins the calling thread to a processor.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(cpu);
    sched_setaffinity(None, &processors).with_context(|| format!("run on processor {cpu}"))
}
