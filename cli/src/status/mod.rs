//! `weir status`: whether the node is as it should be, and what it has.
//!
//! `gather` reads facts, `judge` turns them into problems and is pure, `show` prints both.

mod facts;
mod gather;
mod judge;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::node::maps;
use crate::options::{AgentAddress, Place};
use crate::output::{Output, say, say_json};

/// Options of `weir status`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For people or for programs
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    agent: AgentAddress,
}

/// An unhealthy node.
const UNHEALTHY: u8 = 2;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Judges the node, and says so.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let facts = gather::gather(&options.place, options.agent.health_address).await?;
    let problems = judge::judge(&facts, VERSION);
    let counters = if facts.serves && facts.foreign_maps.is_none() {
        maps::counters(&options.place.pins())?
    } else {
        Vec::new()
    };
    let report = show::Report::new(&facts, &problems, &counters);
    match options.output {
        Output::Json => say_json(&report)?,
        Output::Text => say(&report.text())?,
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) })
}
