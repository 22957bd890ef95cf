//! `cargo xtask image`: the agent's container image, as an OCI archive.
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

mod tree;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, size};
use crate::console::{self, Steps};
use crate::requirements::{self, IMAGE, Report};
use crate::workspace::Workspace;
use crate::{command, root};

/// Where the programs lie in the image.
const PROGRAMS: &str = "usr/bin";
/// The archive's name.
const ARCHIVE: &str = "weir-agent.tar";
/// The image's name, to which the version is added: whole, as the kubelet asks for it, and of no
/// registry.
const NAME: &str = "localhost/weir-agent";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const AGENT: &str = "/usr/bin/weir-agent";

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

    let folder = workspace.target.join("image");
    let files = folder.join("root");
    steps.step("gather the image's files", || gather(workspace, &files))?;
    steps.step("start the image's programs", || try_programs(&files))?;
    let archive = folder.join(ARCHIVE);
    let created = commit_time(workspace);
    steps.step("write the image", || write(&folder, &files, &archive, &created))?;

    let bytes = fs::metadata(&archive).with_context(|| format!("read {}", archive.display()))?;
    console::note(&format!(
        "{}  {NAME}:{VERSION}, {}",
        archive.display(),
        size(bytes.len().try_into().unwrap_or(usize::MAX)),
    ));
    console::note(&format!("load it on a node: ctr -n k8s.io images import {ARCHIVE}"));
    Ok(())
}

fn gather(workspace: &Workspace, files: &Path) -> Result<()> {
    tree::clear(files)?;
    for program in build::PROGRAMS {
        tree::put(&workspace.release().join(program), files, &Path::new(PROGRAMS).join(program))?;
    }
    let nft = command::find("nft").context("there is no program nft on PATH")?;
    tree::put_with_libraries(&nft, files, Path::new("usr/sbin/nft"))
}

/// What is missing in the image shows here, and not on a node.
fn try_programs(files: &Path) -> Result<()> {
    for words in [["/usr/sbin/nft", "--version"], [AGENT, "--help"]] {
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
    let storage = folder.join("storage");
    let settings = folder.join("containers.conf");
    // It makes this folder, in /etc unless it is told.
    let networks = format!("[network]\nnetwork_config_dir = {:?}\n", folder.join("networks"));
    fs::write(&settings, networks).with_context(|| format!("write {}", settings.display()))?;
    let buildah = || {
        // In a network of its own: it neither changes the machine's nor asks anybody.
        let mut buildah = Command::new("unshare");
        buildah.args(["--net", "--", "buildah", "--storage-driver=vfs"]);
        buildah.env("CONTAINERS_CONF", &settings);
        buildah.arg("--root").arg(&storage).arg("--runroot").arg(folder.join("run"));
        buildah
    };
    tree::clear(&storage)?;
    let container = command::output(buildah().args(["from", "scratch"]))?;
    let container = container.trim();
    command::output(buildah().arg("copy").arg(container).arg(files).arg("/"))?;
    let mut config = buildah();
    config.args(["config", "--arch=amd64", "--os=linux"]);
    config.arg(format!("--entrypoint=[\"{AGENT}\"]"));
    // As variables and not as arguments, so that a DaemonSet's arguments neither repeat nor
    // replace them.
    config.arg("--env=PATH=/usr/sbin:/usr/bin");
    config.arg(format!("--env=WEIR_CNI_BINARY=/{PROGRAMS}/weir-cni"));
    config.arg("--label=org.opencontainers.image.title=weir-agent");
    config.arg(format!("--label=org.opencontainers.image.version={VERSION}"));
    command::output(config.arg(container))?;
    match fs::remove_file(archive) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", archive.display()));
        }
        _ => {}
    }
    let mut commit = buildah();
    // The same files make the same image.
    commit.args(["commit", "--quiet", "--format=oci", "--timestamp", created, container]);
    command::output(commit.arg(format!("oci-archive:{}:{NAME}:{VERSION}", archive.display())))?;
    tree::clear(&storage)
}

/// The time of the commit that is checked out, in seconds since 1970.
fn commit_time(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(&workspace.root).args(["log", "-1", "--format=%ct"]);
    command::output(&mut git).map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned())
}
