//! The agent's overlay: the delay until a node has the entries of its peers, the delay until they
//! are repaired, and the rate of traffic through the tunnel.
//!
//! Times begin with a cause (an agent's start, a written manifest, the kernel's notification that
//! the device was removed) and end with the kernel's notification of the last route, neighbour
//! entry or FDB entry: nothing is polled. Traffic is compared with a baseline, the same topology
//! with flannel's entries and rules. The contenders take turns, pinned to processors.

mod cold_start;
mod notifications;
mod peer_added;
mod peers;
mod repair;
mod report;
mod stream;
mod traffic;

use anyhow::Result;
use clap::{Args, value_parser};

use crate::machine::Machine;
use crate::output::Format;
use cold_start::ColdStart;
use report::{Change, Report};

/// The agent's overlay: start, changes, repair, and traffic against flannel's entries
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Numbers of peers
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100,1000,5000",
        value_parser = value_parser!(u32).range(1..=10_000))]
    peers: Vec<u32>,

    /// Starts to measure for each number of peers (0 leaves out the rows about peers)
    #[arg(long, value_name = "N", default_value_t = 3)]
    starts: u32,

    /// How often a peer is added; the device is deleted a tenth as often
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
        value_parser = value_parser!(u32).range(10..))]
    samples: u32,

    /// Turns of each contender in the rows about traffic (0 leaves these rows out)
    #[arg(long, value_name = "N", default_value_t = 7)]
    turns: u32,

    /// Seconds of each turn
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u64).range(1..=30))]
    seconds: u64,

    /// Processors of the client and the server
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', num_args = 1..=2,
        default_value = "0,0")]
    cpus: Vec<usize>,

    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Measures and prints the figures.
pub(crate) fn measure(options: &Options) -> Result<()> {
    let mut starts = Vec::new();
    let mut changes = Vec::new();
    for &count in &options.peers {
        let mut measured = Vec::new();
        for turn in 1..=options.starts {
            eprintln!("measuring: start {turn} of {} with {count} peers", options.starts);
            let fixture = cold_start::Fixture::new(count)?;
            measured.push(fixture.start()?);
            if turn == options.starts {
                eprintln!("measuring: a peer added to {count}");
                let took = peer_added::measure(&fixture, options.samples)?;
                changes.push(Change::new("one peer added", count, &took, 100.0));
                eprintln!("measuring: the device deleted with {count} peers");
                let took = repair::measure(&fixture, options.samples.div_ceil(10).max(5))?;
                changes.push(Change::new("repair of a deleted device", count, &took, 1000.0));
            }
        }
        starts.push(ColdStart::median_of(measured));
    }
    let traffic = if options.turns == 0 {
        Vec::new()
    } else {
        traffic::measure(options.turns, options.seconds, &options.cpus)?
    };
    let report = Report::new(Machine::describe()?, starts, changes, traffic);
    match options.output {
        Format::Table => println!("{}", report.table()),
        Format::Json => println!("{}", report.json()?),
    }
    Ok(())
}
