//! Network namespaces: handles, and running code inside one.

use std::{
    fs::File,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::fstat,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::Error;

/// A network namespace, kept alive by this handle even if its path goes away.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    path: PathBuf,
}

impl Netns {
    /// Opens the namespace that is bound at `path` (`/var/run/netns/…`, `/proc/<pid>/ns/net`).
    ///
    /// Any file can be opened. Entering fails if the file is not a network namespace.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| {
            Error::new(format!("open network namespace {}", path.display()), error)
        })?;
        Ok(Self { fd: file.into(), path: path.to_owned() })
    }

    /// The calling thread's namespace.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Whether both handles refer to the same namespace.
    pub fn is_same_as(&self, other: &Self) -> Result<bool, Error> {
        Ok(self.identity()? == other.identity()?)
    }

    fn identity(&self) -> Result<(u64, u64), Error> {
        let stat = fstat(&self.fd)
            .map_err(|errno| Error::new(format!("look at {}", self.path.display()), errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Moves the calling thread into this namespace until the guard is dropped.
    pub fn enter(&self) -> Result<NetnsGuard, Error> {
        let home = Self::current()?;
        self.set()?;
        Ok(NetnsGuard { home, _not_send: PhantomData })
    }

    /// Runs `work` on the calling thread inside this namespace. Processes that it starts stay
    /// there; sockets that it opens belong there for life.
    ///
    /// A thread that is already there stays, which needs no privilege. Moving needs `CAP_SYS_ADMIN`.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        if self.is_same_as(&Self::current()?)? {
            return Ok(work());
        }
        let _guard = self.enter()?;
        Ok(work())
    }

    fn set(&self) -> Result<(), Error> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |errno| Error::new(format!("enter network namespace {}", self.path.display()), errno),
        )
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Brings the thread back to the namespace it came from.
///
/// It is bound to its thread. Do not hold it across an `.await`: another task would run in the
/// wrong namespace.
#[derive(Debug)]
pub struct NetnsGuard {
    home: Netns,
    _not_send: PhantomData<*const ()>,
}

impl Drop for NetnsGuard {
    fn drop(&mut self) {
        if self.home.set().is_err() {
            // A thread that goes on in a pod's namespace would configure the wrong network.
            std::process::abort();
        }
    }
}
