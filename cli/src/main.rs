//! The `weir` binary: the operator's tool.
//!
//! `node` reads the state of the node; each command evaluates and prints it. Everything works while the
//! agent is down, except for the names of Services, which only the agent knows.

mod cleanup;
mod endpoints;
mod flows;
mod leftovers;
mod manual;
mod node;
mod options;
mod output;
mod protocol;
mod services;
mod status;
mod tool;
mod trace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// Shows and removes what Weir has on a node.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done; status: the node is healthy
  1  the command failed or its arguments are invalid
  2  status: the node is not healthy";

#[derive(Debug, Subcommand)]
enum Command {
    /// Report whether the node is healthy, and how to fix each problem
    ///
    /// The first line is "healthy" or the problem; tables of the state of the node follow. Exits with
    /// 2 if there is a problem.
    Status(status::Options),
    /// List the Services that this node serves, and their backends
    Services(services::Options),
    /// List the flows to Services
    Flows(flows::Options),
    /// List the pods of this node
    Endpoints(endpoints::Options),
    /// Show what would happen to a packet from a pod
    ///
    /// Runs the pod's program on a packet that is not sent. Afterwards the flow table and session
    /// affinity are as before, unless a full table has evicted its oldest entry. Counters include
    /// the packet.
    Trace(trace::Options),
    /// Remove everything of Weir's from this node, or what kube-proxy or flannel have left
    ///
    /// Lists what would be removed; --yes removes it. Delete Weir's DaemonSet and drain the node first:
    /// running pods lose their network, and a running agent creates everything again. With
    /// --kube-proxy or --flannel, nothing of Weir's and of the kubelet's is removed. A second run finds
    /// nothing.
    Cleanup(cleanup::Options),
    /// Print the completion script of a shell: weir completion bash > /etc/bash_completion.d/weir
    Completion(manual::Completion),
    /// Write manual pages into a directory
    Man(manual::Man),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the message cannot be printed, it is lost.
            let _ = error.print();
            // clap would exit with 2, which means an unhealthy node here.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(&cli.command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Status(options) => return status::run(options).await,
        Command::Services(options) => services::run(options).await?,
        Command::Flows(options) => flows::run(options).await?,
        Command::Endpoints(options) => endpoints::run(options)?,
        Command::Trace(options) => trace::run(options).await?,
        Command::Completion(options) => manual::complete(Cli::command(), options)?,
        Command::Man(options) => manual::write_man(Cli::command(), options)?,
        Command::Cleanup(options) => cleanup::run(options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
