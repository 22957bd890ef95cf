//! cargo-deny holds the dependencies against `deny.toml`.

use std::path::Path;

use anyhow::Result;
use xtask::command;

use super::install::cargo_install;

pub(super) const VERSION: &str = "0.20.2";

pub(super) fn build(prefix: &Path) -> Result<()> {
    // It works for a second and is built for minutes: optimise less.
    command::run(
        cargo_install(prefix, "cargo-deny", VERSION)?
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    )
}
