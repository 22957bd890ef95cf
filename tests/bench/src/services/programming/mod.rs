//! The delay from written manifests to Weir's maps, and what the agent uses meanwhile.
//!
//! The agent reads a directory of manifests, because the costs of an API server and its client are
//! not those of the agent. Times begin with the start of the process, or with the renaming of a
//! complete file, and end when another processor sees the change in the map.

mod changes;
mod fixture;
mod load;
mod options;

use anyhow::{Context, Result};
use serde::Serialize;

pub(crate) use changes::Churn;
use fixture::Fixture;
pub(crate) use fixture::Size;
pub(crate) use options::ProgrammingOptions;

use crate::figures::Figures;

/// The figures of one size. Times are in microseconds, sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Programming {
    pub(crate) size: Size,
    /// From the start of the process to the last Service in the map: the median start.
    pub(crate) load: f64,
    /// From the start of the process to readiness, of the same start.
    pub(crate) ready: f64,
    pub(crate) memory: u64,
    pub(crate) peak_memory: u64,
    pub(crate) change: Figures,
    pub(crate) changes: usize,
    pub(crate) churn: Option<Churn>,
}

/// Measures one size.
pub(crate) fn measure(size: Size, options: &ProgrammingOptions) -> Result<Programming> {
    let mut loads = Vec::new();
    let mut fixture = None;
    for start in 1..=options.starts.max(1) {
        eprintln!("measuring: start {start} of {} with {size}", options.starts);
        // The previous node is removed first: its maps must not take memory from the next one.
        drop(fixture.take());
        let fresh = Fixture::new(size)?;
        loads.push(load::measure(&fresh, options)?);
        fixture = Some(fresh);
    }
    loads.sort_by_key(|load| load.programmed);
    let load = *loads.get(loads.len() / 2).context("no start")?;
    let fixture = fixture.context("no start")?;
    eprintln!("measuring: one endpoint changed, with {size}");
    let changes = changes::measure_single(&fixture, options)?;
    let churn = if options.churn.is_zero() {
        None
    } else {
        eprintln!("measuring: many endpoints changed, with {size}");
        Some(changes::measure_churn(&fixture, options)?)
    };
    Ok(Programming {
        size,
        load: load.programmed.as_secs_f64() * 1e6,
        ready: load.ready.as_secs_f64() * 1e6,
        memory: load.memory.now,
        peak_memory: load.memory.peak,
        change: Figures::of(&changes),
        changes: changes.len(),
        churn,
    })
}
