//! Measurements on a running cluster: the delay from a node's boot to its network, the delay from a
//! write to the API server to its effect, and the memory and processor time of agents.

mod boots;
mod effects;
mod figures;
mod tables;
mod usage;
mod watch;

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::churn;
use crate::console::{self, step};
use crate::deploy;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::leaks;
use crate::member::Member;
use crate::node;
use crate::process::Process;
use crate::spec::Cni;
use crate::state::State;
use figures::Figures;

/// The options of `measure`; 0 leaves a part out.
#[derive(Args, Clone, Debug)]
pub(crate) struct Measure {
    /// Boots of the last node, which end the pods on it
    #[arg(long, default_value_t = 5)]
    boots: u32,
    /// Seconds for which idle agents are observed
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Pods that are created at once and deleted at once
    #[arg(long, default_value_t = 50)]
    pods: u32,
    /// Rounds of creating and deleting them
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How often a Service is created, and how often an endpoint is changed
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// Numbers of Services to measure these changes with
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,5000",
        value_parser = clap::value_parser!(u32).range(1..=40_000))]
    services: Vec<u32>,
    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs; times are in seconds, sizes in bytes
    Json,
}

/// Measures, prints the figures, and checks that pods left nothing behind.
///
/// # Errors
/// When the cluster does not do what is measured, or pods leave something behind.
pub(crate) fn run(environment: &Environment, measure: &Measure) -> Result<()> {
    let mut state = State::load(environment)?;
    let kubectl = Kubectl::new(environment, &state)?;
    // Nodes with the reference plugins have no agent: only the churn is measured there.
    let has_agents = state.spec.cni == Cni::Weir;
    let mut figures = Figures::default();
    figures.load[0] = load()?;
    if has_agents && measure.idle > 0 {
        deploy::wait_for_agents(&kubectl)?;
        let wait = || {
            thread::sleep(Duration::from_secs(measure.idle));
            Ok(())
        };
        let agents = agents(&state)?;
        (_, figures.idle) = step("observe idle agents", || usage::during(&agents, wait))?;
    }
    if measure.pods > 0 && measure.rounds > 0 {
        let agents = if has_agents { agents(&state)? } else { Vec::new() };
        let churn = || churn::measure(&kubectl, &state, measure.pods, measure.rounds);
        let (outcome, busy) = usage::during(&agents, churn)?;
        (figures.churn, figures.busy) = (Some(outcome), busy);
    }
    if measure.changes > 0 {
        let (services, changes) = (&measure.services, measure.changes);
        figures.effects = effects::measure(environment, &state, services, changes)?;
    }
    if has_agents && measure.boots > 0 {
        figures.boots = boots::measure(environment, &mut state, measure.boots)?;
    }
    figures.load[1] = load()?;
    console::result(&match measure.output {
        Format::Table => tables::all(&figures),
        Format::Json => serde_json::to_string(&figures)?,
    })?;
    // Without pods of its own, it must not fail because other pods come and go meanwhile.
    let had_pods = figures.churn.is_some() || !figures.effects.is_empty();
    if had_pods || !figures.boots.is_empty() {
        step("find leftovers of pods", || leaks::ensure_none(environment, &state))?;
    }
    Ok(())
}

/// The nodes' names with the processes of their agents.
fn agents(state: &State) -> Result<Vec<(String, Process)>> {
    let agent = |node: &Member| -> Result<(String, Process)> {
        let agent = node::agent(node)?;
        let agent = agent.with_context(|| format!("no agent runs on {}", node.name()))?;
        Ok((node.name().to_owned(), agent))
    };
    state.nodes.iter().map(agent).collect()
}

fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.context("read the load average")
}
