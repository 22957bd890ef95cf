//! Container images, as OCI archives. Here is the agent's: `cargo xtask image`.
//!
//! The image holds the released programs, which are static, and `nft` with the libraries that it is
//! linked with, as this machine's Debian packages installed them: no shell, no package manager, and
//! no image of anybody else below it, so that no registry is asked. The agent installs the plugin
//! from the image onto the node.
//!
//! ```text
//! <target>/image/root/               the image's files
//! <target>/image/storage, run/, …    buildah's, apart from the machine's own images
//! <target>/image/weir-agent.tar      the archive
//! ```

mod buildah;
mod cluster;
mod inputs;
mod toolbox;
pub(crate) mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::buildah::Buildah;
use crate::build::{self, size};
use crate::console::{self, Steps};
use crate::requirements::{self, IMAGE, Report};
use crate::workspace::Workspace;
use crate::{command, root};

pub(crate) use self::cluster::{folder as cluster_folder, images};

/// Where the programs lie in the image.
const PROGRAMS: &str = "usr/bin";
/// The archive's name.
const ARCHIVE: &str = "weir-agent.tar";
/// The image's name, to which the version is added: whole, as the kubelet asks for it, and of no
/// registry.
const NAME: &str = "localhost/weir-agent";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const AGENT: &str = "/usr/bin/weir-agent";
const TOOL: &str = "/usr/bin/weir";

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
    make(workspace, &mut steps)?;
    console::note(&format!("load it on a node: ctr -n k8s.io images import {ARCHIVE}"));
    Ok(())
}

/// Makes the archive of the agent's image from the programs as they are built.
fn make(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let folder = workspace.target.join("image");
    let files = folder.join("root");
    steps.step("gather the image's files", || gather(workspace, &files))?;
    steps.step("start the image's programs", || try_programs(&files))?;
    let archive = archive(workspace);
    inputs::forget(&archive)?;
    let created = commit_time(workspace);
    steps.step("write the image", || write(&folder, &files, &archive, &created))?;
    console::note(&format!("{}  {NAME}:{VERSION}, {}", archive.display(), file_size(&archive)?));
    Ok(())
}

fn archive(workspace: &Workspace) -> PathBuf {
    workspace.target.join("image").join(ARCHIVE)
}

fn file_size(file: &Path) -> Result<String> {
    let meta = fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
    Ok(size(meta.len().try_into().unwrap_or(usize::MAX)))
}

fn gather(workspace: &Workspace, files: &Path) -> Result<()> {
    tree::clear(files)?;
    for program in build::PROGRAMS {
        tree::put(&workspace.release().join(program), files, &Path::new(PROGRAMS).join(program))?;
    }
    let nft = (nft()?, PathBuf::from("usr/sbin/nft"));
    tree::put_with_libraries(&[nft], files)
}

fn nft() -> Result<PathBuf> {
    command::find("nft").context("there is no program nft on PATH")
}

/// What is missing in the image shows here, and not on a node.
fn try_programs(files: &Path) -> Result<()> {
    for words in [["/usr/sbin/nft", "--version"], [AGENT, "--help"], [TOOL, "--help"]] {
        let said = command::output(Command::new("chroot").arg(files).args(words))?;
        console::note(&format!(
            "{}: {}",
            words.join(" "),
            said.lines().next().unwrap_or("started")
        ));
    }
    Ok(())
}

fn write(folder: &Path, files: &Path, archive: &Path, created: &str) -> Result<()> {
    let buildah = Buildah::with_files(folder, files)?;
    buildah.configure(&[
        format!("--entrypoint=[\"{AGENT}\"]"),
        // As variables and not as arguments, so that a DaemonSet's arguments neither repeat nor
        // replace them.
        "--env=PATH=/usr/sbin:/usr/bin".to_owned(),
        format!("--env=WEIR_CNI_BINARY=/{PROGRAMS}/weir-cni"),
        "--label=org.opencontainers.image.title=weir-agent".to_owned(),
        format!("--label=org.opencontainers.image.version={VERSION}"),
    ])?;
    tree::remove(archive)?;
    let destination = format!("oci-archive:{}:{NAME}:{VERSION}", archive.display());
    buildah.commit(created, &[], &destination)?;
    buildah.clear()
}

/// The time of the commit that is checked out, in seconds since 1970.
fn commit_time(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(&workspace.root).args(["log", "-1", "--format=%ct"]);
    command::output(&mut git).map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned())
}
