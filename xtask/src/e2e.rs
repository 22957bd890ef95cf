//! `cargo xtask e2e`: Weir with Kubernetes' own programs.

use std::ffi::OsString;

use anyhow::Result;

use crate::console::Steps;
use crate::requirements::{self, E2E_API, Report};
use crate::tools::demand_go;
use crate::workspace::Workspace;
use crate::{build, command, program, root};

/// Agents against a real API server.
pub(crate) fn api(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    root::demand("e2e api")?;
    demand_go()?;
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, E2E_API, Report::OnlyMissing)?;
    build::programs(workspace, &mut steps)?;
    steps.step("test", || {
        let mut cargo = command::cargo();
        cargo.args(["test", "--package", "weir-api-tests", "--test", "api"]);
        cargo.args(["--features", "control-plane"]);
        cargo.current_dir(&workspace.root).arg("--").args(args);
        command::run(program::environment(workspace, &mut cargo))
    })?;
    steps.summary();
    Ok(())
}
