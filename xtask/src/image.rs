//! `cargo xtask image`, and the images of a cluster: both are made by `weir-images`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use xtask::console::Steps;

use crate::requirements::{self, IMAGE, Report};
use crate::workspace::Workspace;
use crate::{build, program, root};

/// The program that makes images; its package has the same name.
const PROGRAM: &str = "weir-images";

/// Makes the archive of the agent's image.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if !root::is_root() {
        bail!(
            "cargo xtask image makes files that belong to root and starts programs in the image; \
             run it as root, for example: sudo env PATH=\"$PATH\" cargo xtask image"
        );
    }
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, IMAGE, Report::OnlyMissing)?;
    build::programs(workspace, &mut steps)?;
    program::become_program(PROGRAM, &mut builder(workspace, "agent"))
}

/// Makes the archives of a cluster's images, where they are out of date.
pub(crate) fn cluster(workspace: &Workspace) -> Result<()> {
    program::run_part(PROGRAM, &mut builder(workspace, "cluster"))
}

/// The folder with the archives of a cluster's images.
pub(crate) fn cluster_folder(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("cluster")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("image")
}

fn builder(workspace: &Workspace, images: &str) -> Command {
    let mut builder = program::of_package(workspace, PROGRAM, PROGRAM, &[OsString::from(images)]);
    builder.arg("--repository").arg(&workspace.root).arg("--output").arg(folder(workspace));
    builder.env("WEIR_CACHE_DIR", &workspace.cache);
    builder
}
