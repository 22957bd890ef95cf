//! The `weir` binary: the operator's tool.
//!
//! `node` reads what is on the node; each command judges that and shows it. Everything works while
//! the agent is down, except for what only the agent knows: names of Services.

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
  1  it could not be done, or was asked for in a wrong way
  2  status: the node is not healthy";

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether the node is as it should be, and what to do where it is not
    ///
    /// The first line is "healthy", or what is wrong; tables of what there is follow. Exits with 2
    /// if something is wrong.
    Status(status::Options),
    /// List the Services that this node serves, and where their flows go
    Services(services::Options),
    /// List the flows that were given a backend
    Flows(flows::Options),
    /// List the pods of this node
    Endpoints(endpoints::Options),
    /// Say what would become of a packet that a pod sends
    ///
    /// The pod's program is run on a packet that is not sent. Afterwards the flow table and session
    /// affinity are as before, unless a full table has forgotten its oldest entry for it; counters
    /// have counted.
    Trace(trace::Options),
    /// Remove all that Weir has made on this node, or what kube-proxy or flannel have left
    ///
    /// Says what would go; with --yes it goes. Delete Weir's DaemonSet and drain the node first:
    /// running pods lose their network, and an agent that still runs makes everything again. With
    /// --kube-proxy or --flannel nothing of Weir's goes, and what belongs to the kubelet stays. A
    /// second run finds nothing.
    Cleanup(cleanup::Options),
    /// Print a shell's completion: weir completion bash > /etc/bash_completion.d/weir
    Completion(manual::Completion),
    /// Write manual pages into a directory
    Man(manual::Man),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done if even that cannot be printed.
            let _ = error.print();
            // clap's own 2 stands for an unhealthy node here.
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
