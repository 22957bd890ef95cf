//! `cargo xtask lint`: formatting, structure, clippy, and the dependencies.

use anyhow::Result;
use clap::Args;
use xtask::command;
use xtask::console::Steps;

use crate::program;
use crate::requirements::{self, LINT, Report};
use crate::workspace::Workspace;

/// Lints the test of `cargo xtask e2e` too, which needs this feature to be built.
const E2E: &str = "--features=weir-api-tests/control-plane";

/// The programs for the kernel, which are a workspace of their own.
const EBPF: &str = "ebpf/Cargo.toml";

/// The program that checks the structure of the code; its package has the same name.
const STRUCTURE: &str = "weir-structure";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Format the code, and apply the changes that clippy proposes
    #[arg(long)]
    fix: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, LINT, Report::OnlyMissing)?;
    if options.fix {
        steps.step("fix", || {
            cargo(workspace, &["fmt", "--all"])?;
            cargo(workspace, &["fmt", "--manifest-path", EBPF])?;
            cargo(
                workspace,
                &[
                    "clippy",
                    "--fix",
                    "--allow-dirty",
                    "--allow-staged",
                    "--workspace",
                    "--all-targets",
                    E2E,
                ],
            )
        })?;
    }
    checks(workspace, &mut steps)?;
    steps.summary();
    Ok(())
}

/// The checks of `lint`, for the tests as well.
pub(crate) fn checks(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.step("formatting", || {
        cargo(workspace, &["fmt", "--all", "--check"])?;
        cargo(workspace, &["fmt", "--manifest-path", EBPF, "--check"])
    })?;
    steps.step("structure", || {
        let root = [workspace.root.clone().into_os_string()];
        command::run(&mut program::of_package(workspace, STRUCTURE, STRUCTURE, &root))
    })?;
    steps.step("clippy", || {
        let lints = ["clippy", "--workspace", "--all-targets", E2E, "--", "--deny", "warnings"];
        cargo(workspace, &lints)
    })?;
    steps.step("clippy of the eBPF programs", || {
        let mut clippy = command::cargo();
        clippy.args(["clippy", "--release", "--locked", "--manifest-path", EBPF, "--target-dir"]);
        clippy.arg(workspace.target.join("ebpf"));
        clippy.args(["-Z", "build-std=core", "--target", "bpfel-unknown-none"]);
        // As the build script of `datapath` has it, so that nothing is compiled twice.
        clippy.env("RUSTC_BOOTSTRAP", "1");
        clippy.env("CARGO_ENCODED_RUSTFLAGS", "--cfg=bpf_target_arch=\"x86_64\"");
        command::run(clippy.args(["--", "--deny", "warnings"]).current_dir(&workspace.root))
    })?;
    steps.step("dependencies", || {
        // Known vulnerabilities are left to a scheduled run: their list changes without a commit,
        // and has to be fetched from where a build machine may not reach.
        let mut deny = std::process::Command::new(workspace.tools().join("cargo-deny"));
        deny.args(["--log-level", "warn", "check", "bans", "licenses", "sources"]);
        command::run(deny.current_dir(&workspace.root))
    })
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<()> {
    command::run(command::cargo().args(args).current_dir(&workspace.root))
}
