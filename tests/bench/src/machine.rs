//! The machine that the figures were measured on.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use rustix::system::uname;
use serde::Serialize;

/// What a reader needs to know about it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    /// Processors that the benchmark could use.
    pub(crate) processors: usize,
}

impl Machine {
    pub(crate) fn describe() -> Result<Self> {
        Ok(Self {
            kernel: uname().release().to_string_lossy().into_owned(),
            processor: model().unwrap_or_else(|| "unknown processor".to_owned()),
            processors: available_parallelism().context("count the processors")?.get(),
        })
    }
}

fn model() -> Option<String> {
    let listed = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = listed.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
