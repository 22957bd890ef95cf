//! Threads that stay on a processor.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps the calling thread on one processor.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(cpu);
    sched_setaffinity(None, &processors).with_context(|| format!("run on processor {cpu}"))
}
