//! Services: what connections, requests and a stream cost through Weir, through kube-proxy's rules,
//! and without either.
//!
//! Each contender is a cluster of its own. Client, server and all work of the kernel between them
//! share one processor, on which nothing else of the benchmark runs; the contenders take turns
//! within each round, and what is compared is turns of the same round.

mod control;
mod exchange;
mod kube_proxy;
mod lane;
mod maps;
mod objects;
mod plot;
mod programming;
mod programs;
mod report;
mod rounds;
mod targets;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum, value_parser};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::machine::Machine;
use crate::output::Format;
use exchange::Kind;
use lane::{Contender, Lane, Place, Workshop};
use programming::{Effort, Size};
use report::{GivenUp, Report, Sync};
use rounds::Plan;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Connect, ask for a byte, get one, close; one connection after the other
    Connect,
    /// Ask for a byte and get one, again and again on one connection
    Request,
    /// Send as much as possible on one connection
    Stream,
    /// What Weir's programs take for each packet
    Programs,
    /// How soon Weir's maps hold what is written
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

/// Services: connections and requests against kube-proxy's rules and a network without any
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Services that there are, the measured one among them
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,1000,10000,50000",
        value_parser = value_parser!(u32).range(1..=60_000))]
    services: Vec<u32>,

    /// What is measured
    #[arg(
        long,
        value_enum,
        value_name = "PART",
        value_delimiter = ',',
        default_value = "connect,request,stream,programs,programming"
    )]
    only: Vec<Part>,

    /// Through what
    #[arg(
        long,
        value_enum,
        value_name = "CONTENDER",
        value_delimiter = ',',
        default_value = "bare,direct,iptables,nftables,slow,fast"
    )]
    through: Vec<Contender>,

    /// Where the client is
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

    /// Sizes that the agent is loaded with, as Services x endpoints of each
    #[arg(long, value_name = "NxN", value_delimiter = ',', num_args = 0..,
        default_value = "1000x10,10000x10")]
    sizes: Vec<Size>,

    /// Starts that are measured for each size; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    starts: u32,

    /// How often an endpoint is changed for each size
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(10..))]
    changes: u32,

    /// Seconds for which a hundred endpoints change each second (0: not at all)
    #[arg(long, value_name = "N", default_value_t = 60)]
    churn: u64,

    /// The largest number of Services that kube-proxy is measured with
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    kube_proxy_up_to: u32,

    /// Seconds that rules and maps for all Services may take
    #[arg(long, value_name = "N", default_value_t = 180)]
    patience: u64,

    /// The processor of client and server; everything else runs on others
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    cpu: usize,

    /// Draw the rate of connections over the number of Services into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Measures and prints.
pub(crate) fn measure(options: &Options) -> Result<()> {
    let machine = Machine::describe()?;
    leave(options.cpu)?;
    let (lanes, given_up) = lanes(options)?;
    let plan = Plan {
        kinds: options.only.iter().filter_map(|part| part.kind()).collect(),
        places: options.places.clone(),
        rounds: usize::try_from(options.rounds)?,
        time: Duration::from_millis(options.milliseconds),
        cpu: options.cpu,
    };
    let has = |part| options.only.contains(&part);
    let traffic = rounds::measure(&lanes, &plan)?;
    let programs = if has(Part::Programs) { programs::measure(&lanes, &plan)? } else { Vec::new() };
    let syncs = lanes.iter().filter_map(Sync::of).collect();
    drop(lanes);
    let mut programming = Vec::new();
    if has(Part::Programming) {
        let effort = Effort {
            starts: options.starts,
            changes: options.changes,
            churn: Duration::from_secs(options.churn),
            patience: Duration::from_secs(options.patience),
            cpu: options.cpu,
        };
        for &size in &options.sizes {
            programming.push(programming::measure(size, &effort)?);
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

/// Everybody who takes turns, and whose rules were not complete in time.
fn lanes(options: &Options) -> Result<(Vec<Lane>, Vec<GivenUp>)> {
    let (mut lanes, mut given_up) = (Vec::new(), Vec::new());
    if options.only == [Part::Programming] {
        return Ok((lanes, given_up));
    }
    let workshop = Workshop::new(Duration::from_secs(options.patience), options.cpu);
    for (contender, services) in wanted(options) {
        eprintln!("preparing: {contender}, {services} Services");
        match workshop.make(contender, services)? {
            Some(lane) => lanes.push(lane),
            None => given_up.push(GivenUp { contender, services, seconds: options.patience }),
        }
    }
    Ok((lanes, given_up))
}

/// The lanes, those with the fewest Services first: they only ever become more.
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

/// Keeps this thread, and whatever it starts, off the processor that is measured on.
fn leave(cpu: usize) -> Result<()> {
    let mut processors: CpuSet = sched_getaffinity(None).context("ask for the processors")?;
    ensure!(processors.is_set(cpu), "there is no processor {cpu}");
    processors.unset(cpu);
    if processors.count() > 0 {
        sched_setaffinity(None, &processors).context("leave a processor")?;
    }
    Ok(())
}
