//! Container images, as OCI archives, from files of this machine. No registry is asked.
//!
//! `cargo xtask` builds what goes into them and starts this program: `agent` makes the agent's image
//! for `cargo xtask image`, and `cluster` makes all images of a cluster for `cargo xtask e2e`.

mod agent;
mod buildah;
mod cluster;
mod folders;
mod inputs;
mod toolbox;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::console::{self, Steps};

use crate::folders::Folders;

/// Make container images from files of this machine
#[derive(Debug, Parser)]
#[command(name = "weir-images", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    images: Images,
}

#[derive(Debug, Subcommand)]
enum Images {
    /// The agent's image
    Agent(Folders),

    /// The images of a cluster, where they are out of date
    Cluster(Folders),
}

fn main() -> ExitCode {
    match run(&Cli::parse().images) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(images: &Images) -> Result<()> {
    let mut steps = Steps::default();
    match images {
        Images::Agent(folders) => {
            agent::make(folders, &mut steps)?;
            console::note(&format!(
                "load it on a node: ctr -n k8s.io images import {}",
                agent::ARCHIVE
            ));
            Ok(())
        }
        Images::Cluster(folders) => cluster::make(folders, &mut steps),
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
