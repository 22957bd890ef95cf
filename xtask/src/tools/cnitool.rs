//! cnitool is the reference library's own client. It is written in Go, which the project does not
//! require: where Go is not installed, containerd is the only real client that is tested.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use xtask::command;

use super::files::make_folder;

pub(super) const VERSION: &str = "v1.3.0";

pub(super) fn left_out() -> Option<&'static str> {
    command::find("go").is_none().then_some("left out: there is no `go` on PATH")
}

pub(super) fn build(prefix: &Path) -> Result<()> {
    let bin = prefix.join("bin");
    make_folder(&bin)?;
    let module = format!("github.com/containernetworking/cni/cnitool@{VERSION}");
    command::run(
        Command::new("go").args(["install", &module]).env("GOBIN", bin).env("CGO_ENABLED", "0"),
    )
}
