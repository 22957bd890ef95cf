//! `cargo xtask test`: everything that has to hold before a change is merged.

use anyhow::Result;

use crate::cli::Test;
use crate::console::{self, Steps};
use crate::requirements::{self, LINT, Report, TEST};
use crate::workspace::Workspace;
use crate::{build, command, kernel, lint, program, root};

pub(crate) fn run(workspace: &Workspace, options: &Test) -> Result<()> {
    let Test { packages, no_lint, args } = options;
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
        // One failure hides no other.
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
