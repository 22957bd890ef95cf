//! `cargo xtask bench`: Weir measured against what it replaces.

use std::ffi::OsString;

use anyhow::Result;
use clap::Subcommand;
use xtask::console::{self, Steps};

use crate::requirements::{self, BENCH_CNI, BENCH_OVERLAY, BENCH_SERVICES, Need, Report};
use crate::workspace::Workspace;
use crate::{build, program, root};

/// The program that measures; its package has the same name.
const PROGRAM: &str = "weir-bench";

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// All of them, one after the other, on a machine that does nothing else
    ///
    /// Takes some twenty minutes, then puts the tables into docs/benchmarks.md, between markers, and
    /// draws docs/benchmarks-services.svg. `cargo xtask bench all -- --help` shows its arguments.
    All {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// ADD and DEL of the CNI plugin against the reference bridge and host-local plugins
    ///
    /// Arguments go to the benchmark: `cargo xtask bench cni -- --help` shows its own.
    Cni {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// Services: connections and requests against kube-proxy's rules and a network without any
    ///
    /// Arguments go to the benchmark: `cargo xtask bench services -- --help` shows its own.
    Services {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// The agent's overlay: start, changes, repair, and traffic against flannel's entries
    ///
    /// Arguments go to the benchmark: `cargo xtask bench overlay -- --help` shows its own.
    Overlay {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    match bench {
        Bench::All { args } => all(workspace, args),
        Bench::Cni { args } => start(workspace, BENCH_CNI, "cni", args),
        Bench::Services { args } => start(workspace, BENCH_SERVICES, "services", args),
        Bench::Overlay { args } => start(workspace, BENCH_OVERLAY, "overlay", args),
    }
}

/// A quick run only shows that the benchmarks work: its figures are not kept.
fn all(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let docs = workspace.root.join("docs");
    let mut all = args.to_vec();
    let given = |flag: &str| args.iter().any(|arg| arg.to_string_lossy().starts_with(flag));
    for (flag, file) in [("--page", "benchmarks.md"), ("--plot", "benchmarks-services.svg")] {
        if !given("--quick") && !given(flag) {
            all.extend([flag.into(), docs.join(file).into()]);
        }
    }
    start(workspace, &[BENCH_CNI, BENCH_OVERLAY, BENCH_SERVICES].concat(), "all", &all)
}

fn start(workspace: &Workspace, needs: &[Need], subject: &str, args: &[OsString]) -> Result<()> {
    root::demand(&format!("bench {subject}"))?;
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, needs, Report::OnlyMissing)?;
    build::programs(workspace, &mut steps)?;
    console::announce(PROGRAM);
    let args: Vec<_> = [OsString::from(subject)].iter().chain(args).cloned().collect();
    let mut bench = program::of_package(workspace, PROGRAM, PROGRAM, &args);
    console::echo(&bench);
    program::become_program(PROGRAM, &mut bench)
}
