//! The figures as tables and as JSON.

use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Serialize;

use super::contender::Contender;
use super::exchange::Kind;
use super::programming::{Churn, Programming};
use super::programs::{Cost, Costs};
use super::rounds::Row;
use super::targets;
use super::testbed::Testbed;
use crate::machine::Machine;
use crate::output::{align_numbers, mebibytes, milliseconds, table};

/// The figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) traffic: Vec<Row>,
    pub(crate) syncs: Vec<Sync>,
    pub(crate) given_up: Vec<GivenUp>,
    pub(crate) programs: Vec<Costs>,
    pub(crate) programming: Vec<Programming>,
}

/// The time and the result of kube-proxy's first sync.
#[derive(Debug, Serialize)]
pub(crate) struct Sync {
    contender: Contender,
    services: u32,
    /// From the start of kube-proxy on both nodes to the last rule.
    seconds: f64,
    /// The position of the measured Service's rule, beginning with 1, on the node where it is
    /// later.
    position: Option<usize>,
}

/// A contender whose rules, or maps, were not complete in time.
#[derive(Debug, Serialize)]
pub(crate) struct GivenUp {
    pub(crate) contender: Contender,
    pub(crate) services: u32,
    pub(crate) seconds: u64,
}

impl Sync {
    pub(crate) fn of(testbed: &Testbed) -> Option<Self> {
        let synced = testbed.synced?;
        Some(Self {
            contender: testbed.contender,
            services: testbed.services,
            seconds: synced.took.as_secs_f64(),
            position: synced.position,
        })
    }
}

impl Report {
    /// The figures as JSON, for programs.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("write the report as JSON")
    }

    /// The figures as Markdown tables, for people.
    pub(crate) fn table(&self) -> String {
        let Machine { kernel, processor, processors } = &self.machine;
        let mut parts = vec![format!("Linux {kernel}, {processors} processors ({processor})")];
        for kind in [Kind::Connect, Kind::Request, Kind::Stream] {
            let rows: Vec<_> = self.traffic.iter().filter(|row| row.kind == kind).collect();
            if !rows.is_empty() {
                parts.push(traffic(kind, &rows).to_string());
            }
        }
        if !self.syncs.is_empty() || !self.given_up.is_empty() {
            parts.push(self.syncs().to_string());
        }
        if !self.programs.is_empty() {
            parts.push(programs(&self.programs).to_string());
        }
        if !self.programming.is_empty() {
            parts.push(programming(&self.programming).to_string());
        }
        if self.programming.iter().any(|size| size.churn.is_some()) {
            parts.push(churn(&self.programming).to_string());
        }
        parts.join("\n\n")
    }

    fn syncs(&self) -> Table {
        let mut table = table(&["rules of", "services", "complete after", "position"]);
        for Sync { contender, services, seconds, position } in &self.syncs {
            table.add_row(vec![
                contender.to_string(),
                services.to_string(),
                format!("{seconds:.1} s"),
                position.map_or_else(String::new, |position| position.to_string()),
            ]);
        }
        for GivenUp { contender, services, seconds } in &self.given_up {
            let never = if contender.kube_proxy().is_some() {
                format!("not synced in {seconds} s")
            } else {
                format!("no room, or not in the maps in {seconds} s")
            };
            table.add_row(vec![contender.to_string(), services.to_string(), never, String::new()]);
        }
        align_numbers(table, 1)
    }
}

fn traffic(kind: Kind, rows: &[&Row]) -> Table {
    let (name, unit, scale) = match kind {
        Kind::Connect => ("connect, request, close", "1000/s", 1e3),
        Kind::Request => ("requests one at a time", "1000/s", 1e3),
        Kind::Stream => ("one TCP stream", "Gbit/s", 1e9),
    };
    let mut table = table(&[
        name,
        "services",
        "through",
        unit,
        "median µs",
        "p99 µs",
        "to bare",
        "target",
        "to iptables, 1",
        "target",
        "to fewest",
        "target",
        "rounds",
    ]);
    for row in rows {
        let services =
            if row.contender.serves() { row.services.to_string() } else { String::new() };
        let figure = |value: f64| {
            if kind == Kind::Stream { String::new() } else { format!("{value:.1}") }
        };
        let ratio = |value: Option<f64>| value.map_or_else(String::new, |it| format!("{it:.2}"));
        let (least, most) = row.spread;
        table.add_row(vec![
            row.place.to_string(),
            services,
            row.contender.to_string(),
            format!("{:.2}", row.rate / scale),
            figure(row.median),
            figure(row.p99),
            ratio(row.to_bare),
            targets::to_bare(row),
            ratio(row.to_iptables),
            targets::to_iptables(row),
            ratio(row.to_fewest),
            targets::to_fewest(row),
            format!("{:+.0} … {:+.0} %", (least - 1.0) * 100.0, (most - 1.0) * 100.0),
        ]);
    }
    align_numbers(table, 3)
}

fn programs(all: &[Costs]) -> Table {
    let mut table = table(&[
        "through",
        "place",
        "while",
        "program",
        "runs each",
        "ns a run",
        "from_pod + to_pod",
        "instructions",
    ]);
    for costs in all {
        let (name, sum) = match costs.kind {
            Kind::Connect => ("connecting", String::new()),
            Kind::Request | Kind::Stream => ("requesting", targets::programs(costs)),
        };
        for (index, Cost { program, runs, time, instructions }) in costs.costs.iter().enumerate() {
            table.add_row(vec![
                costs.contender.to_string(),
                costs.place.to_string(),
                name.to_owned(),
                program.clone(),
                format!("{runs:.1}"),
                format!("{time:.0}"),
                if index == 0 { sum.clone() } else { String::new() },
                instructions.map_or_else(String::new, |count| count.to_string()),
            ]);
        }
    }
    align_numbers(table, 4)
}

fn programming(sizes: &[Programming]) -> Table {
    let mut table = table(&[
        "cold load",
        "to the last Service, ms",
        "target",
        "to ready, ms",
        "memory",
        "target",
        "peak memory",
        "one endpoint changed, ms",
        "p99, ms",
        "target",
    ]);
    for one in sizes {
        table.add_row(vec![
            one.size.to_string(),
            milliseconds(one.load),
            targets::load(one),
            milliseconds(one.ready),
            mebibytes(one.memory),
            targets::memory(one),
            mebibytes(one.peak_memory),
            milliseconds(one.change.median),
            milliseconds(one.change.p99),
            targets::change(one),
        ]);
    }
    align_numbers(table, 1)
}

fn churn(sizes: &[Programming]) -> Table {
    let mut table = table(&[
        "endpoints changed all the time",
        "per second",
        "for",
        "processor",
        "memory",
        "peak memory",
        "the last one seen after, ms",
    ]);
    for one in sizes {
        let Some(Churn { seconds, rate, processor, memory, peak_memory, behind }) = one.churn
        else {
            continue;
        };
        table.add_row(vec![
            one.size.to_string(),
            format!("{rate:.0}"),
            format!("{seconds:.0} s"),
            format!("{:.1} %", processor * 100.0),
            mebibytes(memory),
            mebibytes(peak_memory),
            milliseconds(behind),
        ]);
    }
    align_numbers(table, 1)
}
