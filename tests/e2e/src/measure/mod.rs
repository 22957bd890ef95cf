//! Figures of a running cluster: how soon a node that boots has its network, how soon what is written
//! to the API server has an effect, and what agents take meanwhile and afterwards.

mod effects;
mod starts;
mod tables;
mod usage;
mod watch;

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::churn;
use crate::console::{self, step};
use crate::deploy;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::leaks;
use crate::node;
use crate::process::Process;
use crate::shape::Cni;
use crate::state::State;
use effects::Effects;
use starts::Start;
use usage::Spent;

/// What is measured; 0 leaves a part out.
#[derive(Args, Clone, Debug)]
pub(crate) struct Measure {
    /// Boots of the last node, which takes it away from its pods
    #[arg(long, default_value_t = 5)]
    boots: u32,
    /// Seconds for which agents are watched while nothing happens
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Pods that are created, and deleted, at once
    #[arg(long, default_value_t = 50)]
    pods: u32,
    /// How often
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How often a Service is created, and an endpoint changed
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// With so many Services
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,5000",
        value_parser = clap::value_parser!(u32).range(1..=40_000))]
    services: Vec<u32>,
    /// How the figures are printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs; times are in seconds, sizes in bytes
    Json,
}

/// The result.
#[derive(Debug, Default, Serialize)]
struct Figures {
    /// The machine's load average of a minute, before and after.
    load: [f64; 2],
    boots: Vec<Start>,
    /// By node.
    idle: Vec<Spent>,
    /// By node.
    busy: Vec<Spent>,
    churn: Option<churn::Outcome>,
    /// By the number of Services.
    effects: Vec<Effects>,
}

/// Measures, and looks for what pods left.
///
/// # Errors
/// When the cluster does not do what is measured.
pub(crate) fn run(environment: &Environment, measure: &Measure) -> Result<()> {
    let mut state = State::load(environment)?;
    let kubectl = Kubectl::new(environment, &state)?;
    // Nodes of the reference have no agent: what remains is the churn.
    let has_agents = state.shape.cni == Cni::Weir;
    let mut figures = Figures::default();
    figures.load[0] = load()?;
    if has_agents && measure.idle > 0 {
        deploy::wait_for_agents(&kubectl)?;
        let wait = || {
            thread::sleep(Duration::from_secs(measure.idle));
            Ok(())
        };
        let agents = agents(&state)?;
        (_, figures.idle) = step("watch idle agents", || usage::during(&agents, wait))?;
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
        figures.boots = starts::measure(environment, &mut state, measure.boots)?;
    }
    figures.load[1] = load()?;
    console::result(&match measure.output {
        Format::Table => tables::all(&figures),
        Format::Json => serde_json::to_string(&figures)?,
    })?;
    // Others may have pods that come and go while agents are only watched.
    let had_pods = figures.churn.is_some() || !figures.effects.is_empty();
    if had_pods || !figures.boots.is_empty() {
        step("look for what pods left", || leaks::demand_none(environment, &state))?;
    }
    Ok(())
}

/// The agents by their nodes' names.
fn agents(state: &State) -> Result<Vec<(String, Process)>> {
    let agent = |node| -> Result<(String, Process)> {
        let node: &crate::state::Machine = node;
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
