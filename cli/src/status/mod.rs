//! `weir status`: whether the node is healthy, and its state.
//!
//! `gather` reads facts, `judge` derives problems from them and is pure, `show` prints both.

mod facts;
mod forwarding;
mod gather;
mod judge;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use self::facts::VERSION;
use crate::node::maps;
use crate::options::{AgentAddress, NodePaths};
use crate::output::{Output, print_json, print_text};

/// Options of `weir status`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    paths: NodePaths,
    #[command(flatten)]
    agent: AgentAddress,
}

/// The exit code of an unhealthy node.
const UNHEALTHY: u8 = 2;

/// Prints the status of the node.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let facts = gather::gather(&options.paths, options.agent.health_address).await?;
    let problems = judge::judge(&facts, VERSION);
    let counters = if facts.serves && facts.foreign_maps.is_none() {
        maps::counters(&options.paths.pins())?
    } else {
        Vec::new()
    };
    let report = show::Report::new(&facts, &problems, &counters);
    match options.output {
        Output::Json => print_json(&report)?,
        Output::Text => print_text(&report.text())?,
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) })
}
