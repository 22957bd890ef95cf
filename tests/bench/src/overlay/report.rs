//! The figures as tables and as JSON.

use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Serialize;

use super::cold_start::ColdStart;
use super::traffic::{Compared, Kind};
use crate::figures::Figures;
use crate::machine::Machine;
use crate::output::{align_numbers, mebibytes, milliseconds, table, target_verdict};

/// The cold start with 5,000 peers, in milliseconds.
const START_TARGET: f64 = 2000.0;
/// With 1,000 peers, in bytes.
const MEMORY_TARGET: u64 = 40 << 20;
/// The ratio to flannel's rates.
const TRAFFIC_TARGET: f64 = 1.0;

/// The figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    cold_starts: Vec<ColdStart>,
    changes: Vec<Change>,
    traffic: Vec<Compared>,
}

/// The times of an operation, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    operation: &'static str,
    peers: u32,
    samples: usize,
    took: Figures,
    /// For the 99th percentile.
    target: f64,
}

impl Change {
    pub(crate) fn new(
        operation: &'static str,
        peers: u32,
        took: &[Duration],
        target_milliseconds: f64,
    ) -> Self {
        let (samples, took) = (took.len(), Figures::of(took));
        Self { operation, peers, samples, took, target: target_milliseconds * 1e3 }
    }
}

impl Report {
    pub(crate) fn new(
        machine: Machine,
        cold_starts: Vec<Option<ColdStart>>,
        changes: Vec<Change>,
        traffic: Vec<Compared>,
    ) -> Self {
        let cold_starts = cold_starts.into_iter().flatten().collect();
        Self { machine, cold_starts, changes, traffic }
    }

    /// The figures as JSON, for programs.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("write the report as JSON")
    }

    /// The figures as Markdown tables, for people.
    pub(crate) fn table(&self) -> String {
        let Machine { kernel, processor, processors } = &self.machine;
        let mut text =
            format!("Linux {kernel}, {processors} processors ({processor}); times in milliseconds");
        let tables = [self.cold_starts(), self.changes(), self.traffic()];
        for table in tables.iter().filter(|table| !table.is_empty()) {
            text += &format!("\n\n{table}");
        }
        text
    }

    fn cold_starts(&self) -> Table {
        let mut table = table(&[
            "cold start",
            "to the last entry",
            "target",
            "first to last entry",
            "to ready",
            "memory",
            "target",
            "peak memory",
        ]);
        for start in &self.cold_starts {
            let ColdStart { peers, total, programming, ready, memory, peak_memory } = *start;
            let in_time = total / 1e3 <= START_TARGET;
            table.add_row(vec![
                format!("{peers} peers"),
                milliseconds(total),
                target_verdict(peers == 5000, &format!("≤ {START_TARGET:.0}"), in_time),
                milliseconds(programming),
                milliseconds(ready),
                mebibytes(memory),
                target_verdict(
                    peers == 1000,
                    &format!("≤ {}", mebibytes(MEMORY_TARGET)),
                    memory <= MEMORY_TARGET,
                ),
                mebibytes(peak_memory),
            ]);
        }
        align_numbers(table, 1)
    }

    fn changes(&self) -> Table {
        let mut table = table(&["change", "peers", "samples", "median", "p99", "target (p99)"]);
        for Change { operation, peers, samples, took, target } in &self.changes {
            let limit = format!("≤ {:.0}", target / 1e3);
            table.add_row(vec![
                (*operation).to_owned(),
                peers.to_string(),
                samples.to_string(),
                milliseconds(took.median),
                milliseconds(took.p99),
                target_verdict(true, &limit, took.p99 <= *target),
            ]);
        }
        align_numbers(table, 1)
    }

    fn traffic(&self) -> Table {
        let mut table = table(&[
            "pod to pod of another node",
            "flannel's entries and rules",
            "weir",
            "ratio",
            "target",
            "weir with Services",
            "ratio",
            "target",
            "entries alone",
            "weir's ratio to them",
        ]);
        for row in &self.traffic {
            let Compared {
                kind,
                weir,
                services,
                flannel,
                ratio,
                services_ratio,
                bare,
                ratio_to_bare,
            } = *row;
            let (name, scale) = match kind {
                Kind::Throughput => ("one TCP stream, Gbit/s", 1e9),
                Kind::Requests => ("requests one at a time, 1000/s", 1e3),
            };
            let rate = |value: f64| format!("{:.2}", value / scale);
            let verdict = |ratio: f64| {
                let limit = format!("≥ {TRAFFIC_TARGET:.2}");
                target_verdict(true, &limit, (ratio * 100.0).round() / 100.0 >= TRAFFIC_TARGET)
            };
            table.add_row(vec![
                name.to_owned(),
                rate(flannel),
                rate(weir),
                format!("{ratio:.2}"),
                verdict(ratio),
                rate(services),
                format!("{services_ratio:.2}"),
                verdict(services_ratio),
                rate(bare),
                format!("{ratio_to_bare:.2}"),
            ]);
        }
        align_numbers(table, 1)
    }
}
