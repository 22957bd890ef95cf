//! `cargo xtask test`: all checks that must pass before a change is merged.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;
use xtask::command;
use xtask::console::{self, Steps};

use crate::requirements::{self, LINT, Report, TEST};
use crate::workspace::Workspace;
use crate::{build, kernel, lint, program, root};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the tests of this package; can be given several times
    #[arg(short, long = "package", value_name = "NAME")]
    pub(crate) packages: Vec<String>,

    /// Leave the lints out
    #[arg(long)]
    pub(crate) no_lint: bool,

    /// Arguments for the test programs: a part of a test's name, --nocapture, ...
    #[arg(last = true)]
    pub(crate) args: Vec<OsString>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Options { packages, no_lint, args } = options;
    root::demand("test")?;
    let lints = if *no_lint { "" } else { "lint, " };
    console::announce(&format!("plan: requirements, kernel, {lints}build, test"));

    let mut steps = Steps::default();
    let needs = if *no_lint { TEST.to_vec() } else { [TEST, LINT].concat() };
    requirements::ensure(workspace, &mut steps, &needs, Report::OnlyMissing)?;
    steps.step("kernel", kernel::demand_features)?;
    if !no_lint {
        lint::checks(workspace, &mut steps)?;
    }
    build::programs(workspace, &mut steps)?;
    steps.step("test", || {
        let mut cargo = command::cargo();
        // All failures are shown, and not only the first.
        cargo.args(["test", "--no-fail-fast"]).current_dir(&workspace.root);
        if packages.is_empty() {
            cargo.arg("--workspace");
        }
        for package in packages {
            cargo.args(["--package", package]);
        }
        if !args.is_empty() {
            cargo.arg("--").args(args);
        }
        command::run(program::environment(workspace, &mut cargo))
    })?;
    steps.summary();
    Ok(())
}
