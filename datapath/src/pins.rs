//! The pins of programs, maps and links.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use weir_ebpf_common::map::{Map, PROGRAMS};

use crate::Error;

/// The magic number of a BPF file system (`BPF_FS_MAGIC` of linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The folder of a BPF file system that holds the pins of one node.
///
/// Names in it have no dots, because BPF file systems refuse them.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// The pins in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pin of a map with this layout.
    #[must_use]
    pub fn map(&self, map: Map) -> PathBuf {
        self.folder.join("maps").join(format!("{}-{}", map.name, map.layout))
    }

    /// The pin of a program of this release.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("programs").join(format!("{name}-{PROGRAMS}"))
    }

    /// The pin of a program's link to a cgroup. It is the same in every release, so that a new link
    /// replaces the old one.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.folder.join("links").join(name)
    }

    /// Creates the folders.
    ///
    /// # Errors
    /// When the folder is not on a BPF file system.
    pub fn create(&self) -> Result<(), Error> {
        for part in ["maps", "programs", "links"] {
            let folder = self.folder.join(part);
            fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        }
        let found = statfs(&self.folder)
            .map_err(|errno| Error::file("look at", &self.folder)(errno.into()))?;
        #[expect(clippy::cast_sign_loss, reason = "magic numbers are compared by their 32 bits")]
        let magic = found.f_type as u64 & 0xffff_ffff;
        if magic == BPF_FS_MAGIC {
            Ok(())
        } else {
            Err(Error::NoBpffs { path: self.folder.clone() })
        }
    }

    /// Whether programs of this release are pinned, which the CNI plugin and the `weir` command need.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.program(crate::Hook::FromPod.program()).exists()
    }

    /// Whether programs of any release are pinned.
    #[must_use]
    pub fn exist_of_any_release(&self) -> bool {
        fs::read_dir(self.folder.join("programs")).is_ok_and(|mut found| found.next().is_some())
    }

    /// Removes everything. Programs that are attached to a device stay attached.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &self.folder)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Mounts a BPF file system at `path`, unless one is there. Returns whether it did.
///
/// # Errors
/// When the caller may not mount.
pub fn mount_bpffs(path: &Path) -> Result<bool, Error> {
    fs::create_dir_all(path).map_err(Error::file("create", path))?;
    let found = statfs(path).map_err(|errno| Error::file("look at", path)(errno.into()))?;
    #[expect(clippy::cast_sign_loss, reason = "magic numbers are compared by their 32 bits")]
    let magic = found.f_type as u64 & 0xffff_ffff;
    if magic == BPF_FS_MAGIC {
        return Ok(false);
    }
    mount("bpf", path, "bpf", MountFlags::empty(), None)
        .map_err(|errno| Error::file("mount a BPF file system at", path)(errno.into()))?;
    Ok(true)
}
