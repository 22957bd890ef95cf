//! The agent's image.
//!
//! The image holds the released programs, which are static, and `nft` with the libraries that it is
//! linked with, as this machine's Debian packages installed them. It has no shell and no package
//! manager, and it is based on no other image, so that no registry is asked. The agent installs the
//! plugin from the image onto the node.
//!
//! ```text
//! <output>/root/               the image's files
//! <output>/storage, run/, …    buildah's, apart from the machine's own images
//! <output>/weir-agent.tar      the archive
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_images::tree;
use xtask::command;
use xtask::console::{self, Steps, size};

use crate::buildah::Buildah;
use crate::folders::Folders;
use crate::inputs;

/// Where the programs lie in the image.
const PROGRAMS: &str = "usr/bin";
/// The archive's name.
pub(crate) const ARCHIVE: &str = "weir-agent.tar";
/// The image's name without its tag, which is the version. It is the whole name that the kubelet asks
/// for, and is on no registry.
const REPOSITORY: &str = "localhost/weir-agent";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const AGENT: &str = "/usr/bin/weir-agent";
const TOOL: &str = "/usr/bin/weir";

/// Makes the archive of the agent's image from the programs as they are built.
pub(crate) fn make(folders: &Folders, steps: &mut Steps) -> Result<()> {
    let folder = &folders.output;
    let files = folder.join("root");
    steps.step("gather the image's files", || gather(folders, &files))?;
    steps.step("start the image's programs", || try_programs(&files))?;
    let archive = archive(folders);
    inputs::forget(&archive)?;
    let created = commit_time(folders);
    steps.step("write the image", || write(folder, &files, &archive, &created))?;
    console::note(&format!("{}  {}, {}", archive.display(), name(), file_size(&archive)?));
    Ok(())
}

/// The image's name with its tag.
pub(crate) fn name() -> String {
    format!("{REPOSITORY}:{VERSION}")
}

/// What the image is made of, which changes when the image would.
pub(crate) fn made_of(folders: &Folders) -> Result<String> {
    let mut files = vec![nft()?];
    files.extend(folders.released().map(|(_, program)| program));
    Ok(format!("{}\n{}", name(), inputs::describe(&files)?))
}

/// Where the archive is left.
pub(crate) fn archive(folders: &Folders) -> PathBuf {
    folders.output.join(ARCHIVE)
}

/// The size of a file, for a person.
pub(crate) fn file_size(file: &Path) -> Result<String> {
    let meta = fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
    Ok(size(meta.len().try_into().unwrap_or(usize::MAX)))
}

fn gather(folders: &Folders, files: &Path) -> Result<()> {
    tree::clear(files)?;
    for (name, program) in folders.released() {
        tree::put(&program, files, &Path::new(PROGRAMS).join(name))?;
    }
    let nft = (nft()?, PathBuf::from("usr/sbin/nft"));
    tree::put_with_libraries(&[nft], files)
}

/// This machine's `nft`.
fn nft() -> Result<PathBuf> {
    command::find("nft").context("there is no program nft on PATH")
}

/// Finds out here, and not on a node, what the image lacks.
fn try_programs(files: &Path) -> Result<()> {
    for words in [["/usr/sbin/nft", "--version"], [AGENT, "--help"], [TOOL, "--help"]] {
        let output = command::output(Command::new("chroot").arg(files).args(words))?;
        console::note(&format!(
            "{}: {}",
            words.join(" "),
            output.lines().next().unwrap_or("started")
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
    let destination = format!("oci-archive:{}:{}", archive.display(), name());
    buildah.commit(created, &[], &destination)?;
    buildah.clear()
}

/// The time of the commit that is checked out, in seconds since 1970.
fn commit_time(folders: &Folders) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(&folders.repository).args(["log", "-1", "--format=%ct"]);
    command::output(&mut git).map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned())
}
