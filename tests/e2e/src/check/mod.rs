//! Checks that pods of a running cluster keep working when a component below them goes away. The
//! name of each check is a sentence, and each leaves the cluster as it was.

mod flow;
mod scenarios;

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use comfy_table::Table;

use crate::console::{self, seconds, step};
use crate::environment::Environment;
use crate::leaks;
use crate::state::State;
use scenarios::{SCENARIOS, Scenario};

/// The options of `check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// Run only the checks whose names contain this text
    name: Option<String>,
    /// List the names without running anything
    #[arg(long)]
    list: bool,
}

/// Runs the checks one after the other.
///
/// # Errors
/// When a check fails; the others still run.
pub(crate) fn run(environment: &Environment, check: &Check) -> Result<()> {
    let wanted = |scenario: &&Scenario| {
        check.name.as_ref().is_none_or(|part| scenario.name.contains(part.as_str()))
    };
    let scenarios: Vec<_> = SCENARIOS.iter().filter(wanted).collect();
    ensure!(!scenarios.is_empty(), "no check has this name");
    if check.list {
        let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        return console::result(&names.join("\n"));
    }
    let mut table = Table::new();
    table.set_header(["result", "took", "check"]);
    let mut errors = Vec::new();
    for scenario in scenarios {
        let start = Instant::now();
        let outcome = step(scenario.name, || run_one(environment, scenario));
        let word = if outcome.is_ok() { "passed" } else { "failed" };
        table.add_row([word, &seconds(start.elapsed()), scenario.name]);
        errors.extend(outcome.err().map(|error| format!("{error:#}")));
    }
    console::result(&table.to_string())?;
    if !errors.is_empty() {
        bail!("{} checks failed\n{}", errors.len(), errors.join("\n"));
    }
    Ok(())
}

fn run_one(environment: &Environment, scenario: &Scenario) -> Result<()> {
    let mut state = State::load(environment)?;
    (scenario.run)(environment, &mut state)?;
    leaks::ensure_none(environment, &state).context("afterwards")
}
