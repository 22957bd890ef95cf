//! `cargo xtask kernels`: Weir on kernels that this machine does not run, with `weir-kernels`.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use xtask::console::Steps;

use crate::requirements::{self, KERNELS, Report};
use crate::workspace::Workspace;
use crate::{build, program, root};

/// The program that runs the tests; its package has the same name.
const PROGRAM: &str = "weir-kernels";

/// The kernel of this machine, which needs no emulator.
const HOST: &str = "host";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this kernel; can be given several times
    #[arg(
        long = "kernel",
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(names())
    )]
    kernels: Vec<String>,

    /// Only the tests that say most about a kernel, in a third of the time
    #[arg(long)]
    quick: bool,

    /// List the kernels and tests, and do nothing else
    #[arg(long)]
    list: bool,

    /// Fetch the newest kernels, also where one is kept
    #[arg(long)]
    update: bool,

    /// Fetch from this mirror of Debian and, with `-security` behind it, of its security archive,
    /// instead of from those that this machine's own packages come from
    #[arg(long, value_name = "URI", env = "WEIR_DEBIAN_MIRROR")]
    mirror: Option<String>,
}

/// The names of the kernels, which `weir-kernels` has a table of.
fn names() -> [PossibleValue; 4] {
    [
        PossibleValue::new(HOST).help("The kernel of this machine, without an emulator"),
        PossibleValue::new("5.10").help("The oldest that Weir supports"),
        PossibleValue::new("6.1"),
        PossibleValue::new("6.12"),
    ]
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.list {
        return program::become_program(PROGRAM, &mut runner(workspace, "list", options));
    }
    if options.kernels.is_empty() || options.kernels.iter().any(|kernel| kernel == HOST) {
        root::demand("kernels")?;
    }
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, KERNELS, Report::OnlyMissing)?;
    // Before anything is built, which takes minutes.
    let mut fetch = runner(workspace, "fetch", options);
    if options.update {
        fetch.arg("--update");
    }
    if let Some(mirror) = &options.mirror {
        fetch.arg("--mirror").arg(mirror);
    }
    program::run_part(PROGRAM, &mut fetch)?;
    build::programs(workspace, &mut steps)?;
    let mut run = runner(workspace, "run", options);
    if options.quick {
        run.arg("--quick");
    }
    run.arg("--repository").arg(&workspace.root);
    run.arg("--output").arg(workspace.target.join("kernels"));
    program::become_program(PROGRAM, &mut run)
}

fn runner(workspace: &Workspace, verb: &str, options: &Options) -> Command {
    let mut runner = program::of_package(workspace, PROGRAM, PROGRAM, &[OsString::from(verb)]);
    for kernel in &options.kernels {
        runner.arg("--kernel").arg(kernel);
    }
    runner.env("WEIR_CACHE_DIR", &workspace.cache);
    runner
}
