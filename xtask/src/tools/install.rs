//! `cargo install` of a tool.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xtask::command;

/// Where a build keeps its intermediate files, below the edition that is being built.
pub(super) const BUILD_FOLDER: &str = "build";

/// `cargo install` of one pinned program into `prefix`.
pub(super) fn cargo_install(prefix: &Path, name: &str, version: &str) -> Result<Command> {
    let mut cargo = command::cargo();
    cargo.args(["install", name, "--version", version, "--locked", "--force"]);
    cargo.arg("--root").arg(prefix);
    cargo.arg("--target-dir").arg(prefix.join(BUILD_FOLDER));
    // Nobody debugs these; they are built faster and are smaller without.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    // Or cargo advises to add this folder, which is about to be renamed.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([prefix.join("bin")]);
    cargo.env("PATH", env::join_paths(folders).context("extend PATH")?);
    Ok(cargo)
}
