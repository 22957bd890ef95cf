//! ADD and DEL of the CNI plugin against the reference plugins bridge and host-local.
//!
//! Both plugins have nodes of their own with equivalent configurations, and sandboxes that exist
//! beforehand. A time is what a runtime waits for: from the start of the process to its end, with
//! its output read. Both run in each iteration and alternate in going first, so that other work on
//! the machine affects both.

mod contender;
mod footprint;
mod report;
mod round;
mod sample;
mod worker;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, value_parser};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::machine::Machine;
use crate::output::Format;
use contender::{Contender, Families};
use report::{Report, Row};
use round::Round;

/// ADD and DEL of the CNI plugin against the reference bridge and host-local plugins
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Samples of each operation in each row
    #[arg(short = 'n', long, default_value_t = 200, value_name = "N",
        value_parser = value_parser!(u32).range(100..))]
    samples: u32,

    /// Other pods on the node in the last rows (0 leaves these rows out)
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = value_parser!(u32).range(..=200))]
    pods: u32,

    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Run this program and all plugins on this processor
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<usize>,

    /// Folder of the reference plugins
    #[arg(long, value_name = "FOLDER", default_value = "/usr/lib/cni")]
    reference: PathBuf,
}

/// Measures and prints the figures.
pub(crate) fn measure(options: &Options) -> Result<()> {
    if let Some(cpu) = options.cpu {
        pin(cpu)?;
    }
    // Measured first: the measured process begins as a copy of this one, whose memory only grows.
    let footprints = footprint::of_both(&options.reference)?;
    // The kernel removes namespaces in the background, which would disturb later rounds: all nodes
    // and sandboxes are kept until the end.
    let mut kept = Vec::new();
    let mut rows = Vec::new();
    for round in rounds(options) {
        eprintln!("measuring: {round}");
        let contenders = [
            if round.programs {
                Contender::weir_with_programs(round.families)?
            } else {
                Contender::weir(round.families)?
            },
            Contender::reference(&options.reference, round.families)?,
        ];
        let (times, sandboxes) = round.measure(&contenders)?;
        rows.extend(Row::of(&round, &times));
        kept.push((sandboxes, contenders));
    }
    let report = Report::new(Machine::describe()?, rows, footprints);
    match options.output {
        Format::Table => println!("{}", report.table()),
        Format::Json => println!("{}", report.json()?),
    }
    Ok(())
}

fn rounds(options: &Options) -> Vec<Round> {
    let Options { samples, pods, .. } = *options;
    let round =
        |families, parallel, pods| Round { families, programs: false, parallel, pods, samples };
    let with_programs = |round| Round { programs: true, ..round };
    let mut rounds = vec![
        round(Families::Ipv4, 1, 0),
        with_programs(round(Families::Ipv4, 1, 0)),
        round(Families::Ipv4, 8, 0),
        with_programs(round(Families::Ipv4, 8, 0)),
        round(Families::Dual, 1, 0),
        with_programs(round(Families::Dual, 1, 0)),
    ];
    if pods > 0 {
        rounds.push(round(Families::Ipv4, 1, pods));
        rounds.push(round(Families::Ipv4, 8, pods));
    }
    rounds
}

/// Pins this process, and the processes that it starts, to a processor.
fn pin(cpu: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(cpu);
    sched_setaffinity(None, &processors).with_context(|| format!("run on processor {cpu}"))
}
