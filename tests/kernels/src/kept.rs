//! Kernels that were fetched before.
//!
//! ```text
//! <cache>/kernels/<series>/vmlinuz        the kernel
//! <cache>/kernels/<series>/modules.cpio   its modules for networks, as part of an initramfs
//! <cache>/kernels/<series>/release        what `uname -r` says there
//! <cache>/partial/kernel-<series>/        one that is being fetched
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_images::tree;
use xtask::command;

use crate::apt::Apt;
use crate::initramfs;
use crate::mirror::Mirror;
use crate::series::Series;

/// Folders of modules, below `kernel`, that a network may need: the guest has no disk, no screen
/// and no sound.
const FOLDERS: &[&str] = &["arch", "crypto", "drivers/net", "lib", "net"];

/// A kernel that is there.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) series: Series,
    pub(crate) release: String,
    folder: PathBuf,
}

impl Kernel {
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("modules.cpio")
    }

    /// The kernel of the series, if it was fetched before.
    pub(crate) fn kept(cache: &Path, series: Series) -> Option<Self> {
        let folder = folder(cache, series);
        let release = fs::read_to_string(folder.join("release")).ok()?.trim().to_owned();
        Some(Self { series, release, folder })
    }

    /// Fetches the newest kernel of the series, in place of one that is there.
    pub(crate) fn fetch(cache: &Path, series: Series, mirror: &Mirror) -> Result<Self> {
        let work = cache.join("partial").join(format!("kernel-{}", series.name()));
        tree::clear(&work)?;
        let apt = Apt::new(&work, &mirror.sources(&[series]))?;
        let package = apt.download(&apt.newest(series)?)?;
        let files = work.join("files");
        command::run(Command::new("dpkg-deb").arg("--extract").args([&package, &files]))?;

        let made = work.join("made");
        tree::clear(&made)?;
        let release = release(&files)?;
        let image = files.join("boot").join(format!("vmlinuz-{release}"));
        tree::put(&image, &made, Path::new("vmlinuz"))?;
        let modules = gather_modules(&files, &work.join("modules"), &release)?;
        initramfs::pack(&modules, &made.join("modules.cpio"))?;
        fs::write(made.join("release"), &release).context("write the kernel's release")?;

        let folder = folder(cache, series);
        tree::clear(&folder)?;
        fs::rename(&made, &folder).with_context(|| format!("move to {}", folder.display()))?;
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        Ok(Self { series, release, folder })
    }
}

fn folder(cache: &Path, series: Series) -> PathBuf {
    cache.join("kernels").join(series.name())
}

/// What `uname -r` will say, which is how the folder of modules is called.
fn release(files: &Path) -> Result<String> {
    let modules = files.join("lib/modules");
    let mut releases =
        fs::read_dir(&modules).with_context(|| format!("list {}", modules.display()))?;
    let release = releases.next().context("the package has no modules")??;
    release.file_name().into_string().ok().context("the kernel's release is not UTF-8")
}

/// Moves the modules that are wanted below `root`, and lists what they depend on.
fn gather_modules(files: &Path, root: &Path, release: &str) -> Result<PathBuf> {
    let place = Path::new("lib/modules").join(release);
    let (from, to) = (files.join(&place), root.join(&place));
    let wanted = FOLDERS.iter().map(|folder| Path::new("kernel").join(folder));
    let lists = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];
    for path in wanted.chain(lists.map(PathBuf::from)).filter(|path| from.join(path).exists()) {
        let (from, to) = (from.join(&path), to.join(&path));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        fs::rename(&from, &to).with_context(|| format!("move {}", from.display()))?;
    }
    command::run(Command::new("depmod").arg("--basedir").arg(root).arg(release))?;
    Ok(root.to_owned())
}
