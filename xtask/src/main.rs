//! The tasks of this repository, one command each: `cargo xtask --help`.
//!
//! A task first makes sure of what it needs ([`requirements`]) and installs what is missing, so a
//! fresh clone has nothing to prepare. This crate uses no other crate of the workspace: it starts,
//! and can say what is wrong, also when they do not build.
//!
//! Everything it says goes to standard error; standard output belongs to the programs it runs.

mod build;
mod cli;
mod command;
mod console;
mod digest;
mod e2e;
mod elf;
mod image;
mod kernel;
mod kernels;
mod lint;
mod packages;
mod program;
mod requirements;
mod root;
mod setup;
mod test;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Bench, Cli, E2e, Task};
use crate::workspace::Workspace;

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => setup::run(&workspace),
        Task::Build => build::run(&workspace),
        Task::Image => image::run(&workspace),
        Task::Test(options) => test::run(&workspace, &options),
        Task::Lint(options) => lint::run(&workspace, &options),
        Task::Kernels(options) => kernels::run(&workspace, &options),
        Task::Demo { args } => program::demo(&workspace, &args),
        Task::E2e(E2e::Api { args }) => e2e::api(&workspace, &args),
        Task::E2e(E2e::Up(passed)) => e2e::cluster(&workspace, "up", &passed.args),
        Task::E2e(E2e::Run(passed)) => e2e::command(&workspace, "run", &passed.args),
        Task::E2e(E2e::Down(passed)) => e2e::command(&workspace, "down", &passed.args),
        Task::E2e(E2e::Kubectl(passed)) => e2e::command(&workspace, "kubectl", &passed.args),
        Task::E2e(E2e::Exec(passed)) => e2e::command(&workspace, "exec", &passed.args),
        Task::E2e(E2e::Leaks(passed)) => e2e::command(&workspace, "leaks", &passed.args),
        Task::E2e(E2e::Smoke(passed)) => e2e::cluster(&workspace, "smoke", &passed.args),
        Task::E2e(E2e::Check(passed)) => e2e::command(&workspace, "check", &passed.args),
        Task::E2e(E2e::Churn(passed)) => e2e::command(&workspace, "churn", &passed.args),
        Task::E2e(E2e::Measure(passed)) => e2e::command(&workspace, "measure", &passed.args),
        Task::E2e(E2e::Status(passed)) => e2e::command(&workspace, "status", &passed.args),
        Task::Bench(Bench::Cni { args }) => program::bench_cni(&workspace, &args),
        Task::Bench(Bench::All { args }) => program::bench_all(&workspace, &args),
        Task::Bench(Bench::Services { args }) => program::bench_services(&workspace, &args),
        Task::Bench(Bench::Overlay { args }) => program::bench_overlay(&workspace, &args),
    }
}
