//! Measures Weir against what it replaces, on this machine and in one run.

#![expect(clippy::print_stdout, reason = "the output of a benchmark is its result")]

mod all;
mod baseline;
mod cni;
mod figures;
mod machine;
mod output;
mod overlay;
mod page;
mod pinning;
mod process;
mod services;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures Weir against what it replaces (as root)
#[derive(Debug, Parser)]
#[command(name = "weir-bench")]
#[command(after_help = "\
Environment:
  WEIR_BIN_DIR    where weir-agent and weir-cni are [default: the workspace's released binaries]
  WEIR_TOOLS_DIR  where etcd, kube-apiserver, kube-controller-manager, kube-proxy and kubectl are")]
struct Options {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    Cni(cni::Options),
    Overlay(overlay::Options),
    Services(services::Options),
    All(all::Options),
}

fn main() -> Result<()> {
    let Options { subject } = Options::parse();
    match subject {
        Subject::Cni(options) => cni::measure(&options),
        Subject::Overlay(options) => overlay::measure(&options),
        Subject::Services(options) => services::measure(&options),
        Subject::All(options) => all::measure(&options),
    }
}
