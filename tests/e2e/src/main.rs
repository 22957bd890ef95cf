//! A Kubernetes cluster of real components on one machine, with Weir as its network.
//!
//! `cargo xtask e2e` builds what it needs and starts it. The cluster outlives this program: each
//! call finds it by the record in its folder, and `down` ends it by its cgroups.

mod check;
mod churn;
mod cluster;
mod console;
mod control_plane;
mod deploy;
mod environment;
mod kubectl;
mod leaks;
mod machine;
mod measure;
mod member;
mod node;
mod pods;
mod process;
mod requirements;
mod runs;
mod smoke;
mod spec;
mod state;
mod underlay;
mod wait;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::check::Check;
use crate::churn::Churn;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::measure::Measure;
use crate::runs::Run;
use crate::spec::ClusterSpec;
use crate::state::State;

/// A Kubernetes cluster on one machine, with Weir as its network.
#[derive(Debug, Parser)]
#[command(name = "weir-e2e", bin_name = "cargo xtask e2e", disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    environment: Environment,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make a cluster and deploy Weir on it
    Up(ClusterSpec),
    /// End the cluster and remove everything of it
    Down,
    /// Show the state of the cluster
    Status,
    /// Run upstream's tests
    Run(Run),
    /// Check that pods keep talking when agents, kubelets, containerd or a node go away
    Check(Check),
    /// Create and delete many pods at once, and measure how long it takes
    Churn(Churn),
    /// Measure how soon the network of a booting node works, and how much its agent uses
    Measure(Measure),
    /// Find leftovers of deleted pods on the nodes; fails if there are any
    Leaks,
    /// Make a cluster, run a dozen of upstream's tests and end it
    Smoke(ClusterSpec),
    /// Run kubectl as the cluster's administrator
    Kubectl {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run a program on a machine of the cluster: hub, node1, node2, ...
    Exec {
        /// The machine
        machine: String,
        /// The program and its arguments [default: a shell]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                for line in cause.to_string().lines() {
                    console::note(line);
                }
            }
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { environment, task }: Cli) -> Result<()> {
    match task {
        Task::Up(spec) => cluster::up(&environment, spec),
        Task::Down => cluster::down(&environment),
        Task::Run(run) => runs::run(&environment, &run).map(drop),
        Task::Check(check) => check::run(&environment, &check),
        Task::Churn(churn) => churn::run(&environment, &churn),
        Task::Measure(measure) => measure::run(&environment, &measure),
        Task::Leaks => {
            leaks::ensure_none(&environment, &State::load(&environment)?)?;
            console::result("0 differences")
        }
        Task::Smoke(spec) => smoke::run(&environment, spec),
        Task::Status => console::result(&cluster::status(&environment)?),
        Task::Kubectl { args } => {
            let kubectl = Kubectl::new(&environment, &State::load(&environment)?)?;
            let error = kubectl.command(&[])?.args(args).exec();
            Err(error).context("start kubectl")
        }
        Task::Exec { machine, command } => {
            let state = State::load(&environment)?;
            let machine = &state.member(&machine)?.machine;
            let (program, arguments) = match command.split_first() {
                Some((program, arguments)) => (program.clone(), arguments),
                None => ("bash".into(), &[][..]),
            };
            let error = machine.command(&program)?.args(arguments).exec();
            Err(error).with_context(|| format!("start {}", program.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_after_kubectl_are_passed_to_kubectl() {
        let words = ["weir-e2e", "kubectl", "get", "pods", "-A", "--watch"];
        let Task::Kubectl { args } = Cli::try_parse_from(words).unwrap().task else { panic!() };
        assert_eq!(args, ["get", "pods", "-A", "--watch"]);
    }
}
