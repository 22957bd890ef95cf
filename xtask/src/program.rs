//! Programs of the workspace that a task builds and starts: the demo, the benchmarks, the cluster,
//! the image builder and the runner of other kernels.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask::command;

use crate::workspace::Workspace;

/// Tells a program where Weir's own programs and the kept tools are.
pub(crate) fn environment<'a>(workspace: &Workspace, program: &'a mut Command) -> &'a mut Command {
    program.env("WEIR_BIN_DIR", workspace.release()).env("WEIR_TOOLS_DIR", workspace.tools())
}

/// The command that builds a program of a package and starts it with these arguments.
///
/// It is built as the tests are, and not for release: these programs only start others, and a third
/// build of all dependencies would take longer than they run.
pub(crate) fn of_package(
    workspace: &Workspace,
    package: &str,
    program: &str,
    args: &[OsString],
) -> Command {
    let mut cargo = command::cargo();
    cargo.args(["run", "--quiet", "--package", package, "--bin", program]);
    cargo.arg("--manifest-path").arg(workspace.root.join("Cargo.toml"));
    cargo.arg("--").args(args);
    environment(workspace, &mut cargo);
    cargo
}

/// Starts the program in place of this process: its standard streams, its signals and its exit code
/// are the task's.
pub(crate) fn become_program(program: &str, cargo: &mut Command) -> Result<()> {
    let error = cargo.exec();
    Err(error).with_context(|| format!("start {program}"))
}

/// Runs the program as one part of the task. The program itself shows its steps and its error.
pub(crate) fn run_part(program: &str, cargo: &mut Command) -> Result<()> {
    let status = cargo.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("{program} failed, see above");
    }
    Ok(())
}
