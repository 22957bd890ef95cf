//! Services: the rates of connections, requests and a stream through Weir, through kube-proxy's
//! rules, and through neither.
//!
//! Each contender has a cluster of its own. Client, server and all work of the kernel between them
//! share one processor, on which nothing else of the benchmark runs. The contenders take turns
//! within each round, and only turns of the same round are compared.

mod api_server;
mod contender;
mod exchange;
mod kube_proxy;
mod maps;
mod objects;
mod plot;
mod programming;
mod programs;
mod report;
mod rounds;
mod targets;
mod testbed;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum, value_parser};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::machine::Machine;
use crate::output::Format;
use contender::{Contender, Place};
use exchange::Kind;
use programming::{ProgrammingOptions, Size};
use report::{GivenUp, Report, Sync};
use rounds::Plan;
use testbed::{Testbed, TestbedBuilder};

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Connections one after the other: connect, send a byte, receive a byte, close
    Connect,
    /// Requests and replies of one byte, one after the other on one connection
    Request,
    /// Send as much as possible on one connection
    Stream,
    /// The time of Weir's programs for each packet
    Programs,
    /// The delay from written manifests to Weir's maps
    Programming,
}

impl Part {
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Connect => Some(Kind::Connect),
            Self::Request => Some(Kind::Request),
            Self::Stream => Some(Kind::Stream),
            Self::Programs | Self::Programming => None,
        }
    }
}

/// Services: connections and requests through Weir, kube-proxy's rules, and neither
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Numbers of Services, which include the measured one
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,1000,10000,50000",
        value_parser = value_parser!(u32).range(1..=60_000))]
    services: Vec<u32>,

    /// The parts to measure
    #[arg(
        long,
        value_enum,
        value_name = "PART",
        value_delimiter = ',',
        default_value = "connect,request,stream,programs,programming"
    )]
    only: Vec<Part>,

    /// The contenders to measure
    #[arg(
        long,
        value_enum,
        value_name = "CONTENDER",
        value_delimiter = ',',
        default_value = "bare,direct,iptables,nftables,slow,fast"
    )]
    through: Vec<Contender>,

    /// The node that the client is on
    #[arg(
        long,
        value_enum,
        value_name = "PLACE",
        value_delimiter = ',',
        default_value = "same-node,across-nodes"
    )]
    places: Vec<Place>,

    /// Turns of each contender
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,

    /// Milliseconds of each turn
    #[arg(long, value_name = "N", default_value_t = 500,
        value_parser = value_parser!(u64).range(10..=30_000))]
    milliseconds: u64,

    /// Sizes of the agent's load, as Services x endpoints of each
    #[arg(long, value_name = "NxN", value_delimiter = ',', num_args = 0..,
        default_value = "1000x10,10000x10")]
    sizes: Vec<Size>,

    /// Starts to measure for each size; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    starts: u32,

    /// How often an endpoint is changed for each size
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(10..))]
    changes: u32,

    /// Seconds of changing a hundred endpoints each second (0 leaves this out)
    #[arg(long, value_name = "N", default_value_t = 60)]
    churn: u64,

    /// Largest number of Services to measure kube-proxy with
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    kube_proxy_up_to: u32,

    /// Seconds after which a contender whose rules or maps are incomplete is given up
    #[arg(long, value_name = "N", default_value_t = 180)]
    patience: u64,

    /// Processor of client and server; everything else runs on others
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    cpu: usize,

    /// Draw the rate of connections over the number of Services into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Measures and prints the figures.
pub(crate) fn measure(options: &Options) -> Result<()> {
    let machine = Machine::describe()?;
    avoid_processor(options.cpu)?;
    let (testbeds, given_up) = build_testbeds(options)?;
    let plan = Plan {
        kinds: options.only.iter().filter_map(|part| part.kind()).collect(),
        places: options.places.clone(),
        rounds: usize::try_from(options.rounds)?,
        time: Duration::from_millis(options.milliseconds),
        cpu: options.cpu,
    };
    let has = |part| options.only.contains(&part);
    let traffic = rounds::measure(&testbeds, &plan)?;
    let programs =
        if has(Part::Programs) { programs::measure(&testbeds, &plan)? } else { Vec::new() };
    let syncs = testbeds.iter().filter_map(Sync::of).collect();
    drop(testbeds);
    let mut programming = Vec::new();
    if has(Part::Programming) {
        let programming_options = ProgrammingOptions {
            starts: options.starts,
            changes: options.changes,
            churn: Duration::from_secs(options.churn),
            timeout: Duration::from_secs(options.patience),
            cpu: options.cpu,
        };
        for &size in &options.sizes {
            programming.push(programming::measure(size, &programming_options)?);
        }
    }
    let report = Report { machine, traffic, syncs, given_up, programs, programming };
    if let Some(file) = &options.plot {
        plot::draw(file, &report.traffic)?;
    }
    match options.output {
        Format::Table => println!("{}", report.table()),
        Format::Json => println!("{}", report.json()?),
    }
    Ok(())
}

/// Builds the testbeds. The contenders whose rules or maps were not complete in time are given up.
fn build_testbeds(options: &Options) -> Result<(Vec<Testbed>, Vec<GivenUp>)> {
    let (mut testbeds, mut given_up) = (Vec::new(), Vec::new());
    if options.only == [Part::Programming] {
        return Ok((testbeds, given_up));
    }
    let builder = TestbedBuilder::new(Duration::from_secs(options.patience), options.cpu);
    for (contender, services) in wanted(options) {
        eprintln!("preparing: {contender}, {services} Services");
        match builder.build(contender, services)? {
            Some(testbed) => testbeds.push(testbed),
            None => given_up.push(GivenUp { contender, services, seconds: options.patience }),
        }
    }
    Ok((testbeds, given_up))
}

/// The contenders with their numbers of Services. Those with the fewest come first, because the
/// control plane's Services are never deleted.
fn wanted(options: &Options) -> Vec<(Contender, u32)> {
    let counts: BTreeSet<_> = options.services.iter().copied().collect();
    let mut wanted = Vec::new();
    for (index, &count) in counts.iter().enumerate() {
        for &contender in &options.through {
            let too_many = contender.kube_proxy().is_some() && count > options.kube_proxy_up_to;
            if !too_many && (contender.serves() || index == 0) {
                wanted.push((contender, if contender.serves() { count } else { 1 }));
            }
        }
    }
    wanted
}

/// Keeps this thread, and everything that it starts, off the processor of the measurements.
fn avoid_processor(cpu: usize) -> Result<()> {
    let mut processors: CpuSet = sched_getaffinity(None).context("ask for the processors")?;
    ensure!(processors.is_set(cpu), "there is no processor {cpu}");
    processors.unset(cpu);
    if processors.count() > 0 {
        sched_setaffinity(None, &processors).context("avoid the processor of the measurements")?;
    }
    Ok(())
}
