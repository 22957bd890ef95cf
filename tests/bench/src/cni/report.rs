//! The figures as a table and as JSON.

use anyhow::{Context, Result};
use serde::Serialize;

use super::contender::Families;
use super::footprint::Footprints;
use super::round::{Round, Times, Verb};
use crate::figures::Figures;
use crate::machine::Machine;
use crate::output::{align_numbers, mebibytes, milliseconds, table};

/// The largest ratio of Weir's median to the reference's.
const ADD_TARGET: f64 = 0.4;
const DEL_TARGET: f64 = 0.5;

/// The figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    /// Times in microseconds.
    rows: Vec<Row>,
    /// Sizes in bytes.
    footprints: Footprints,
}

/// An operation of both contenders under the same circumstances.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    operation: String,
    families: Families,
    programs: bool,
    parallel: u32,
    other_pods: u32,
    samples: usize,
    weir: Figures,
    reference: Figures,
    /// Weir's figure divided by the reference's.
    ratio: Figures,
    /// The largest ratio of medians that meets the target.
    target: f64,
}

impl Row {
    /// The rows of a round. With parallel calls, there are rows for whole batches too.
    pub(crate) fn of(round: &Round, times: &[Times; 2]) -> Vec<Self> {
        let [weir, reference] = times;
        let mut rows = Vec::new();
        for (name, target, of_weir, of_reference) in [
            ("ADD", ADD_TARGET, &weir.add, &reference.add),
            ("DEL", DEL_TARGET, &weir.del, &reference.del),
        ] {
            let Verb { calls, batches } = of_weir;
            let row = |operation, weir: &[_], reference: &[_]| {
                Self::new(round, operation, target, weir, reference)
            };
            rows.push(row(name.to_owned(), calls, &of_reference.calls));
            if round.parallel > 1 {
                let operation = format!("all {} {name}s", round.parallel);
                rows.push(row(operation, batches, &of_reference.batches));
            }
        }
        rows
    }

    fn new(
        round: &Round,
        operation: String,
        target: f64,
        weir: &[std::time::Duration],
        reference: &[std::time::Duration],
    ) -> Self {
        let samples = weir.len();
        let (weir, reference) = (Figures::of(weir), Figures::of(reference));
        Self {
            operation,
            families: round.families,
            programs: round.programs,
            parallel: round.parallel,
            other_pods: round.pods,
            samples,
            weir,
            reference,
            ratio: Figures {
                median: weir.median / reference.median,
                p99: weir.p99 / reference.p99,
            },
            target,
        }
    }

    fn cells(&self) -> Vec<String> {
        let Self {
            operation,
            families,
            programs,
            parallel,
            other_pods,
            samples,
            weir,
            reference,
            ratio,
            target,
        } = self;
        let mut circumstances = match families {
            Families::Ipv4 => "IPv4".to_owned(),
            Families::Dual => "dual-stack".to_owned(),
        };
        if *programs {
            circumstances += ", with programs";
        }
        if *parallel > 1 {
            circumstances += &format!(", {parallel} in parallel");
        }
        if *other_pods > 0 {
            circumstances += &format!(", {other_pods} other pods");
        }
        let verdict = if ratio.median <= *target { "met" } else { "MISSED" };
        vec![
            operation.clone(),
            circumstances,
            samples.to_string(),
            milliseconds(weir.median),
            milliseconds(reference.median),
            format!("{:.2}", ratio.median),
            format!("≤ {target:.2} {verdict}"),
            milliseconds(weir.p99),
            milliseconds(reference.p99),
            format!("{:.2}", ratio.p99),
        ]
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, rows: Vec<Row>, footprints: Footprints) -> Self {
        Self { machine, rows, footprints }
    }

    /// The figures as JSON, for programs.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("write the report as JSON")
    }

    /// The figures as Markdown tables, for people.
    pub(crate) fn table(&self) -> String {
        let Machine { kernel, processor, processors } = &self.machine;
        let mut times = table(&[
            "operation",
            "circumstances",
            "samples",
            "weir",
            "reference",
            "ratio",
            "target",
            "weir p99",
            "reference p99",
            "ratio p99",
        ]);
        times.add_rows(self.rows.iter().map(Row::cells));
        let times = align_numbers(times, 2);
        let Footprints { weir, reference, memory_floor } = self.footprints;
        let mut sizes = table(&["", "weir", "reference", "ratio"]);
        for (name, weir, reference) in [
            ("peak memory of a process", weir.peak_memory, reference.peak_memory),
            ("programs on the disk", weir.programs, reference.programs),
        ] {
            let ratio = format!("{:.2}", weir as f64 / reference as f64);
            sizes.add_row(vec![name.to_owned(), mebibytes(weir), mebibytes(reference), ratio]);
        }
        format!(
            "Linux {kernel}, {processors} processors ({processor}); medians, in milliseconds\n\n\
             {times}\n\n{sizes}\n\nA program that does nothing is measured with {} of memory.",
            mebibytes(memory_floor)
        )
    }
}
