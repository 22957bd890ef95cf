//! Where programs, maps and links are pinned.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use weir_ebpf_common::map::Map;

use crate::Error;

/// Tells a BPF file system from others.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// A folder of a BPF file system that holds everything of one node.
///
/// Names in it have no dots, which BPF file systems refuse.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// What is, or will be, pinned in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a map of this layout is.
    #[must_use]
    pub fn map(&self, map: Map) -> PathBuf {
        self.folder.join("maps").join(format!("{}-{}", map.name, map.layout))
    }

    /// Where a program is.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("programs").join(name)
    }

    /// Where the link of a program to a cgroup is.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.folder.join("links").join(name)
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// When they are not on a BPF file system.
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

    /// Whether anything is pinned that the CNI plugin and the tool could use.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.program(crate::Hook::FromPod.program()).exists()
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

/// Mounts a BPF file system at `path`, unless one is there. Tells whether it did.
///
/// # Errors
/// Without the right to mount.
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
