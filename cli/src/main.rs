//! The `weir` binary: the operator's tool.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

mod cleanup;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Shows and removes what Weir has on a node.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove all that Weir has made on this node
    ///
    /// Delete the DaemonSet and drain the node first: running pods lose their network, and an agent
    /// that still runs makes everything again. A second run finds nothing. What belongs to others
    /// is not touched.
    Cleanup(cleanup::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Cleanup(options) => cleanup::run(&options).await,
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
}
