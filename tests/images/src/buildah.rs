//! Images from files, with buildah. It keeps everything in a folder of its own, separate from the
//! machine's images, and works in a network namespace without links: it does not change the machine's
//! network, and uses no registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_images::tree;
use xtask::command;

/// Buildah with one container, from which images are committed.
#[derive(Debug)]
pub(crate) struct Buildah {
    folder: PathBuf,
    container: String,
}

impl Buildah {
    /// A container that consists of `files` and nothing else. Its storage is in `folder`.
    pub(crate) fn with_files(folder: &Path, files: &Path) -> Result<Self> {
        let mut buildah = Self { folder: folder.to_owned(), container: String::new() };
        tree::clear(&buildah.storage())?;
        let settings = buildah.settings();
        // It makes this folder, by default in /etc.
        let networks = format!("[network]\nnetwork_config_dir = {:?}\n", folder.join("networks"));
        fs::write(&settings, networks).with_context(|| format!("write {}", settings.display()))?;
        let container = command::output(buildah.run("from").arg("scratch"))?;
        container.trim().clone_into(&mut buildah.container);
        command::output(buildah.run("copy").arg(&buildah.container).arg(files).arg("/"))?;
        Ok(buildah)
    }

    /// Sets the configuration of the next image: flags of `buildah config`.
    pub(crate) fn configure(&self, flags: &[String]) -> Result<()> {
        let mut config = self.run("config");
        config.args(["--arch=amd64", "--os=linux"]).args(flags).arg(&self.container);
        command::output(&mut config).map(drop)
    }

    /// Writes an image to where `destination` says. The same files of the same time (in seconds
    /// since 1970) make the same image.
    pub(crate) fn commit(&self, time: &str, flags: &[&str], destination: &str) -> Result<()> {
        let mut commit = self.run("commit");
        commit.args(["--quiet", "--format=oci", "--timestamp", time]).args(flags);
        command::output(commit.arg(&self.container).arg(destination)).map(drop)
    }

    /// Removes what buildah stored, but not the images that it wrote.
    pub(crate) fn clear(self) -> Result<()> {
        tree::clear(&self.storage())
    }

    fn run(&self, verb: &str) -> Command {
        let mut buildah = Command::new("unshare");
        buildah.args(["--net", "--", "buildah", "--storage-driver=vfs"]);
        buildah.env("CONTAINERS_CONF", self.settings());
        buildah.arg("--root").arg(self.storage()).arg("--runroot").arg(self.folder.join("run"));
        buildah.arg(verb);
        buildah
    }

    fn storage(&self) -> PathBuf {
        self.folder.join("storage")
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("containers.conf")
    }
}
