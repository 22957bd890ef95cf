//! Namespaces held by file descriptors, and code that runs inside them.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const OWN_NET: &str = "/proc/thread-self/ns/net";
const OWN_MNT: &str = "/proc/thread-self/ns/mnt";

/// A network namespace and the mount namespace it is used with.
///
/// Only the descriptors keep both alive. Several values may share a mount namespace.
#[derive(Clone, Debug)]
pub struct Namespaces {
    net: Arc<OwnedFd>,
    mnt: Arc<OwnedFd>,
}

impl Namespaces {
    /// Creates a network namespace and a private copy of the caller's mount namespace.
    pub(super) fn create() -> Result<Self> {
        on_own_thread(|| {
            unshare(UnshareFlags::FS | UnshareFlags::NEWNET | UnshareFlags::NEWNS)
                .context("create a network and a mount namespace (are you root?)")?;
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
                .context("make the mounts of the new mount namespace private")?;
            Ok(Self { net: Arc::new(open(OWN_NET)?), mnt: Arc::new(open(OWN_MNT)?) })
        })
    }

    /// Creates another network namespace that is used with the same mount namespace. `publish` runs
    /// inside of both and gets the path of the new one, to mount it.
    pub(super) fn sibling(&self, publish: impl FnOnce(&str) -> Result<()> + Send) -> Result<Self> {
        self.run(|| {
            unshare(UnshareFlags::NEWNET).context("create a network namespace")?;
            publish(OWN_NET)?;
            Ok(Self { net: Arc::new(open(OWN_NET)?), mnt: Arc::clone(&self.mnt) })
        })
    }

    /// A path of the network namespace, for programs that need one. It is valid while this process
    /// holds the namespace.
    #[must_use]
    pub fn net_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// Runs `work` on a thread of its own inside of these namespaces.
    ///
    /// Child processes inherit the namespaces, and sockets stay in them. The caller's thread never
    /// leaves its own namespaces, also after an early return or a panic.
    ///
    /// # Errors
    /// What `work` returned, or that the namespaces could not be entered. A panic continues in
    /// the caller.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        on_own_thread(|| {
            // A thread that shares its root and working directory may not change mount namespace.
            unshare(UnshareFlags::FS).context("stop sharing the working directory")?;
            for (namespace, kind) in
                [(&self.mnt, LinkNameSpaceType::Mount), (&self.net, LinkNameSpaceType::Network)]
            {
                move_into_link_name_space(namespace.as_fd(), Some(kind))
                    .with_context(|| format!("enter the namespace of kind {kind:?}"))?;
            }
            work()
        })
    }
}

fn open(path: &str) -> Result<OwnedFd> {
    Ok(File::open(path).with_context(|| format!("open {path}"))?.into())
}

fn on_own_thread<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: only an unshared table of file descriptors endangers I/O safety (`FILES`), and no
    // caller in this file asks for it.
    unsafe { unshare_unsafe(flags) }
}
