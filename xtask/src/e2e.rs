//! `cargo xtask e2e`: Weir with Kubernetes' own programs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::console::{self, Steps};
use crate::requirements::{self, E2E_API, E2E_CLUSTER, E2E_UPSTREAM, Report};
use crate::tools::demand_go;
use crate::workspace::Workspace;
use crate::{build, command, image, kernel, program, root};

/// The program that makes and tests a cluster; it is a package of the same name.
const CLUSTER: &str = "weir-e2e";

/// Agents against a real API server.
pub(crate) fn api(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    root::demand("e2e api")?;
    demand_go(workspace)?;
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

/// A command that makes a cluster: everything that one consists of is made first.
pub(crate) fn cluster(workspace: &Workspace, verb: &str, args: &[OsString]) -> Result<()> {
    root::demand(&format!("e2e {verb}"))?;
    if !asks_for_help(args) {
        // What cannot be installed is said before anything is built, which takes minutes.
        demand_go(workspace)?;
        let mut steps = Steps::default();
        requirements::ensure(workspace, &mut steps, E2E_CLUSTER, Report::OnlyMissing)?;
        steps.step("kernel", kernel::demand_for_cluster)?;
        requirements::ensure(workspace, &mut steps, E2E_UPSTREAM, Report::OnlyMissing)?;
        build::programs(workspace, &mut steps)?;
        image::images(workspace, &mut steps)?;
        console::announce(&format!("{CLUSTER} {verb}"));
    }
    command(workspace, verb, args)
}

fn asks_for_help(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h")
}

/// A command for the cluster as it is, which needs nothing but the program that knows it.
pub(crate) fn command(workspace: &Workspace, verb: &str, args: &[OsString]) -> Result<()> {
    root::demand(&format!("e2e {verb}"))?;
    let mut cargo = command::cargo();
    cargo.args(["run", "--quiet", "--package", CLUSTER, "--bin", CLUSTER]);
    cargo.arg("--manifest-path").arg(workspace.root.join("Cargo.toml"));
    cargo.arg("--").arg(verb).args(args);
    program::environment(workspace, &mut cargo)
        .env("WEIR_IMAGES_DIR", image::cluster_folder(workspace))
        .env("WEIR_MANIFESTS_DIR", workspace.root.join("manifests"))
        .env("WEIR_E2E_DIR", workspace.target.join("e2e"));
    // It takes this process's place: its standard streams, its signals and its exit code are the
    // task's.
    let error = cargo.exec();
    Err(error).with_context(|| format!("start {CLUSTER}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_built_for_a_call_for_help() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(asks_for_help(&args(&["--nodes", "3", "--help"])));
        assert!(asks_for_help(&args(&["-h"])));
        assert!(!asks_for_help(&args(&["--nodes", "3", "--", "--help"])));
    }
}
