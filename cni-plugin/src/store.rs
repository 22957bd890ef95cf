//! The address store: reserved addresses in the format of host-local, so that either plugin can follow
//! the other on a node.
//!
//! A store is a directory: a file per address with `containerID\r\nifname`, a `last_reserved_ip.N` for
//! each range set, and a `lock`. Weir adds `boot_id`.
//!
//! Crash safety: a reservation is created by one rename, so it is complete or absent whenever the plugin
//! is killed. `last_reserved_ip.N` is written in place: an incomplete one only changes the order. The
//! renamed file has one fixed name, is only written under the lock, and is overwritten by the next
//! writer. Nothing is synced to disk: after a power failure no container is left, and the changed boot
//! ID clears the store.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    net::IpAddr,
    ops::Deref,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use weir_node::Attachment;

use crate::{Error, lock::Lock};

/// The file of a reservation before it is renamed to its address.
const STAGING: &str = ".reserving";
const LOCK: &str = "lock";
/// Mode of files that others may read.
const MODE: u32 = 0o644;
const BOOT_ID: &str = "boot_id";
const LAST_RESERVED: &str = "last_reserved_ip.";

/// The store of one network.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

/// The store while no other process can change it.
#[derive(Debug)]
pub(crate) struct LockedStore<'a> {
    store: &'a Store,
    _lock: Lock,
}

/// A reserved address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Its owner; `None` if the file is empty or invalid, or not a regular file.
    pub(crate) owner: Option<Attachment>,
    /// When it was written, if the file system knows.
    pub(crate) since: Option<SystemTime>,
}

impl Store {
    /// The store of `network` below `data_dir`. Touches nothing.
    pub(crate) fn new(data_dir: &Path, network: &str) -> Self {
        Self { directory: data_dir.join(network) }
    }

    /// Creates the directory if necessary, and waits for the lock.
    pub(crate) fn lock(&self) -> Result<LockedStore<'_>, Error> {
        fs::create_dir_all(&self.directory).map_err(Error::file("create", &self.directory))?;
        Ok(LockedStore { store: self, _lock: Lock::acquire(&self.directory.join(LOCK))? })
    }

    /// Waits for the lock of a store that exists.
    pub(crate) fn lock_existing(&self) -> Result<Option<LockedStore<'_>>, Error> {
        match fs::metadata(&self.directory) {
            Ok(_) => self.lock().map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::file("read", &self.directory)(error)),
        }
    }

    /// All reserved addresses. Without the lock, the list may be outdated at once.
    pub(crate) fn reservations(&self) -> Result<Vec<Reservation>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", &self.directory)(error)),
        };
        let mut reservations = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::file("read", &self.directory))?;
            let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            reservations.push(Reservation {
                ip,
                owner: read_owner(&entry.path()),
                since: entry.metadata().and_then(|metadata| metadata.modified()).ok(),
            });
        }
        Ok(reservations)
    }

    /// The ID of the boot in which the store was last cleared; `None` if it never was.
    pub(crate) fn boot_id(&self) -> Option<String> {
        fs::read_to_string(self.directory.join(BOOT_ID)).ok()
    }

    /// Whether the attachment has this address.
    pub(crate) fn is_owned_by(&self, ip: IpAddr, owner: &Attachment) -> bool {
        read_owner(&self.path_of(ip)).as_ref() == Some(owner)
    }

    /// Whether the address is reserved, by anyone and in any boot.
    pub(crate) fn is_reserved(&self, ip: IpAddr) -> bool {
        self.path_of(ip).exists()
    }

    fn path_of(&self, ip: IpAddr) -> PathBuf {
        self.directory.join(ip.to_string())
    }

    fn last_reserved_path(&self, set: usize) -> PathBuf {
        self.directory.join(format!("{LAST_RESERVED}{set}"))
    }
}

impl Deref for LockedStore<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store
    }
}

impl LockedStore<'_> {
    /// Reserves the first free address of `candidates` for `owner`, and writes it as the last of the set.
    pub(crate) fn reserve_first<T>(
        &self,
        owner: &Attachment,
        set: usize,
        candidates: impl Iterator<Item = (IpAddr, T)>,
    ) -> Result<Option<(IpAddr, T)>, Error> {
        self.stage(owner)?;
        for (ip, what) in candidates {
            if self.publish(ip)? {
                self.remember_last(set, ip)?;
                return Ok(Some((ip, what)));
            }
        }
        self.unstage()?;
        Ok(None)
    }

    /// The last reserved address of the set; `None` if the file is invalid.
    pub(crate) fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.store.last_reserved_path(set)).ok()?.trim().parse().ok()
    }

    /// Releases an address if the attachment has it.
    pub(crate) fn release(&self, ip: IpAddr, owner: &Attachment) -> Result<bool, Error> {
        if !self.store.is_owned_by(ip, owner) {
            return Ok(false);
        }
        self.discard(ip)?;
        Ok(true)
    }

    /// Releases all addresses of an attachment, and removes the file of a killed reservation.
    pub(crate) fn release_all(&self, owner: &Attachment) -> Result<Vec<IpAddr>, Error> {
        self.unstage()?;
        let mut released = Vec::new();
        for reservation in self.store.reservations()? {
            if reservation.owner.as_ref() == Some(owner) {
                self.discard(reservation.ip)?;
                released.push(reservation.ip);
            }
        }
        Ok(released)
    }

    /// Releases an address of any owner. Also removes an empty directory of that name.
    pub(crate) fn discard(&self, ip: IpAddr) -> Result<(), Error> {
        let path = self.store.path_of(ip);
        let outcome = match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => fs::remove_dir(&path),
            outcome => outcome,
        };
        match outcome {
            Err(error) if !is_absent(&error) => Err(Error::file("remove", path)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_boot_id(&self, boot_id: &str) -> Result<(), Error> {
        let path = self.store.directory.join(BOOT_ID);
        self.replace(&path, boot_id.as_bytes())
    }

    /// Written in place: a rename over an existing file waits until ext4 has begun to write it to disk. An
    /// incomplete write leaves an invalid address, which only changes the order.
    fn remember_last(&self, set: usize, ip: IpAddr) -> Result<(), Error> {
        let path = self.store.last_reserved_path(set);
        let text = ip.to_string();
        let write = || {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).mode(MODE).open(&path)?;
            file.write_all_at(text.as_bytes(), 0)?;
            let length = text.len() as u64;
            if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
        };
        write().map_err(Error::file("write", &path))
    }

    fn stage(&self, owner: &Attachment) -> Result<(), Error> {
        self.write_staging(format!("{}\r\n{}", owner.container_id, owner.ifname).as_bytes())
    }

    /// Renames the staged reservation to an address, unless the address is reserved.
    fn publish(&self, ip: IpAddr) -> Result<bool, Error> {
        let path = self.store.path_of(ip);
        match renameat_with(CWD, self.staging(), CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(errno) => Err(Error::file("reserve", path)(errno.into())),
        }
    }

    /// Removes the file of a killed reservation.
    pub(crate) fn unstage(&self) -> Result<(), Error> {
        let path = self.staging();
        match fs::remove_file(&path) {
            Err(error) if !is_absent(&error) => Err(Error::file("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Replaces the content of a file atomically.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        self.write_staging(content)?;
        fs::rename(self.staging(), path).map_err(Error::file("write", path))
    }

    fn write_staging(&self, content: &[u8]) -> Result<(), Error> {
        let path = self.staging();
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .map_err(Error::file("write", path))
    }

    fn staging(&self) -> PathBuf {
        self.store.directory.join(STAGING)
    }
}

fn read_owner(path: &Path) -> Option<Attachment> {
    let content = fs::read_to_string(path).ok()?;
    // Early versions of host-local wrote only the container ID, for the first interface.
    let (container_id, ifname) = content.split_once("\r\n").unwrap_or((&content, "eth0"));
    let container_id = container_id.trim();
    if container_id.is_empty() {
        return None;
    }
    Some(Attachment { container_id: container_id.to_owned(), ifname: ifname.trim().to_owned() })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
