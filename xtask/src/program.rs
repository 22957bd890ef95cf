//! Programs that people run: the demo and the benchmarks.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::console::{self, Steps};
use crate::requirements::{self, BENCH_CNI, BENCH_OVERLAY, BENCH_SERVICES, DEMO, Need, Report};
use crate::workspace::Workspace;
use crate::{build, command, root};

pub(crate) fn demo(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    root::demand("demo")?;
    start(workspace, DEMO, "weir-tests", "weir-demo", args)
}

pub(crate) fn bench_cni(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    bench(workspace, BENCH_CNI, "cni", args)
}

pub(crate) fn bench_services(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    bench(workspace, BENCH_SERVICES, "services", args)
}

pub(crate) fn bench_overlay(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    bench(workspace, BENCH_OVERLAY, "overlay", args)
}

/// Figures of a run that is only to see that it works go nowhere.
pub(crate) fn bench_all(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let docs = workspace.root.join("docs");
    let mut all = args.to_vec();
    let given = |flag: &str| args.iter().any(|arg| arg.to_string_lossy().starts_with(flag));
    for (flag, file) in [("--page", "benchmarks.md"), ("--plot", "benchmarks-services.svg")] {
        if !given("--quick") && !given(flag) {
            all.extend([flag.into(), docs.join(file).into()]);
        }
    }
    bench(workspace, &[BENCH_CNI, BENCH_OVERLAY, BENCH_SERVICES].concat(), "all", &all)
}

fn bench(workspace: &Workspace, needs: &[Need], subject: &str, args: &[OsString]) -> Result<()> {
    root::demand(&format!("bench {subject}"))?;
    let args: Vec<_> = [OsString::from(subject)].iter().chain(args).cloned().collect();
    start(workspace, needs, "weir-bench", "weir-bench", &args)
}

/// Tells such a program where Weir's own programs and the kept tools are.
pub(crate) fn environment<'a>(workspace: &Workspace, program: &'a mut Command) -> &'a mut Command {
    program.env("WEIR_BIN_DIR", workspace.release()).env("WEIR_TOOLS_DIR", workspace.tools())
}

fn start(
    workspace: &Workspace,
    needs: &[Need],
    package: &str,
    program: &str,
    args: &[OsString],
) -> Result<()> {
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, needs, Report::OnlyMissing)?;
    build::programs(workspace, &mut steps)?;

    // Built as the tests are, and not for release: these programs only start others, and a third
    // build of all dependencies would take longer than they run.
    console::announce(program);
    let mut cargo = command::cargo();
    cargo.args(["run", "--quiet", "--package", package, "--bin", program]);
    cargo.arg("--manifest-path").arg(workspace.root.join("Cargo.toml"));
    cargo.arg("--").args(args);
    console::echo(environment(workspace, &mut cargo));
    // It takes this process's place: its standard streams, its signals and its exit code are the
    // task's.
    let error = cargo.exec();
    Err(error).with_context(|| format!("start {program}"))
}
