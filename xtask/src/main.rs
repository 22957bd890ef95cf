//! The tasks of this repository, one command each: `cargo xtask --help`.
//!
//! A task first checks its needs ([`requirements`]) and installs what is missing, so that a fresh
//! clone works without preparation. This crate uses no other crate of the workspace: it starts,
//! and can say what is wrong, also when they do not build.
//!
//! All its messages go to standard error. Standard output belongs to the programs that it runs.

mod attack;
mod bench;
mod build;
mod cli;
mod demo;
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
use xtask::console;

use crate::cli::{Cli, Task};
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
        Task::Attack { args } => attack::run(&workspace, &args),
        Task::Demo { args } => demo::run(&workspace, &args),
        Task::E2e(task) => e2e::run(&workspace, &task),
        Task::Bench(bench) => bench::run(&workspace, &bench),
    }
}
