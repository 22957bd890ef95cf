//! `cargo xtask e2e`: Weir with Kubernetes' own programs.

use std::ffi::OsString;

use anyhow::Result;
use clap::{Args, Subcommand};
use xtask::command;
use xtask::console::{self, Steps};

use crate::requirements::{self, E2E_API, E2E_CLUSTER, E2E_UPSTREAM, Report};
use crate::tools::demand_go;
use crate::workspace::Workspace;
use crate::{build, image, kernel, program, root};

/// The program that makes and tests a cluster; it is a package of the same name.
const CLUSTER: &str = "weir-e2e";

#[derive(Debug, Subcommand)]
pub(crate) enum E2e {
    /// Agents that follow a real API server
    ///
    /// Builds etcd, kube-apiserver, kube-controller-manager and kubectl as tests/upstream/go.mod pins
    /// them, once and with Go; that takes some minutes. They run in a network namespace.
    Api {
        /// Arguments for the test program: --nocapture, ...
        #[arg(last = true)]
        args: Vec<OsString>,
    },

    /// Start a cluster on this machine, with Weir as its network
    ///
    /// Builds its parts first: Kubernetes' programs as tests/upstream/go.mod pins them
    /// (with Go, for some minutes, once), Weir's, and the container images.
    #[command(disable_help_flag = true)]
    Up(Passed),

    /// Run upstream's [sig-network] tests on the cluster
    #[command(disable_help_flag = true)]
    Run(Passed),

    /// Remove the cluster, with everything that it left on this machine
    #[command(disable_help_flag = true)]
    Down(Passed),

    /// Run kubectl on the cluster
    #[command(disable_help_flag = true)]
    Kubectl(Passed),

    /// Run a command on a node of the cluster
    #[command(disable_help_flag = true)]
    Exec(Passed),

    /// Compare addresses, links and records on the nodes with the running pods
    #[command(disable_help_flag = true)]
    Leaks(Passed),

    /// Start a cluster, run a dozen important tests, and remove the cluster, as CI does
    #[command(disable_help_flag = true)]
    Smoke(Passed),

    /// Test what still works when agents, kubelets, containerd or a node stop
    #[command(disable_help_flag = true)]
    Check(Passed),

    /// Measure how long many pods take to be created and deleted at once
    #[command(disable_help_flag = true)]
    Churn(Passed),

    /// Measure how soon a node works after its boot, and the resources that its agent takes
    #[command(disable_help_flag = true)]
    Measure(Passed),

    /// Show what runs, and its state
    #[command(disable_help_flag = true)]
    Status(Passed),
}

/// Arguments that another program gets as they are, also `--help`.
#[derive(Debug, Args)]
pub(crate) struct Passed {
    /// Arguments of the command; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

pub(crate) fn run(workspace: &Workspace, task: &E2e) -> Result<()> {
    match task {
        E2e::Api { args } => api(workspace, args),
        E2e::Up(Passed { args }) => start(workspace, "up", args),
        E2e::Run(Passed { args }) => pass(workspace, "run", args),
        E2e::Down(Passed { args }) => pass(workspace, "down", args),
        E2e::Kubectl(Passed { args }) => pass(workspace, "kubectl", args),
        E2e::Exec(Passed { args }) => pass(workspace, "exec", args),
        E2e::Leaks(Passed { args }) => pass(workspace, "leaks", args),
        E2e::Smoke(Passed { args }) => start(workspace, "smoke", args),
        E2e::Check(Passed { args }) => pass(workspace, "check", args),
        E2e::Churn(Passed { args }) => pass(workspace, "churn", args),
        E2e::Measure(Passed { args }) => pass(workspace, "measure", args),
        E2e::Status(Passed { args }) => pass(workspace, "status", args),
    }
}

/// Agents against a real API server.
fn api(workspace: &Workspace, args: &[OsString]) -> Result<()> {
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

/// A command that starts a cluster. All parts of the cluster are built first.
fn start(workspace: &Workspace, verb: &str, args: &[OsString]) -> Result<()> {
    root::demand(&format!("e2e {verb}"))?;
    if !asks_for_help(args) {
        // First what cannot be installed: a build takes minutes.
        demand_go(workspace)?;
        let mut steps = Steps::default();
        requirements::ensure(workspace, &mut steps, E2E_CLUSTER, Report::OnlyMissing)?;
        steps.step("kernel", kernel::demand_for_cluster)?;
        requirements::ensure(workspace, &mut steps, E2E_UPSTREAM, Report::OnlyMissing)?;
        build::programs(workspace, &mut steps)?;
        image::cluster(workspace)?;
        console::announce(&format!("{CLUSTER} {verb}"));
    }
    pass(workspace, verb, args)
}

fn asks_for_help(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h")
}

/// A command for a cluster that runs. Only the program itself is built.
fn pass(workspace: &Workspace, verb: &str, args: &[OsString]) -> Result<()> {
    root::demand(&format!("e2e {verb}"))?;
    let args: Vec<_> = [OsString::from(verb)].iter().chain(args).cloned().collect();
    let mut cluster = program::of_package(workspace, CLUSTER, CLUSTER, &args);
    cluster
        .env("WEIR_IMAGES_DIR", image::cluster_folder(workspace))
        .env("WEIR_MANIFESTS_DIR", workspace.root.join("manifests"))
        .env("WEIR_E2E_DIR", workspace.target.join("e2e"));
    program::become_program(CLUSTER, &mut cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_built_to_show_the_help() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(asks_for_help(&args(&["--nodes", "3", "--help"])));
        assert!(asks_for_help(&args(&["-h"])));
        assert!(!asks_for_help(&args(&["--nodes", "3", "--", "--help"])));
    }
}
