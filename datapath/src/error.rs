//! Errors.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the BPF file system.
    #[error("{action} {}", path.display())]
    File {
        /// What failed.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder for pins is on a file system of another type.
    #[error("{} is not on a BPF file system", path.display())]
    NoBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// The object with all programs and maps was not accepted.
    #[error("load the eBPF object")]
    Object(#[source] Box<aya::EbpfError>),
    /// A pinned map has another layout than this release expects.
    #[error("map {} has {found}, where {wanted} is needed", path.display())]
    Layout {
        /// The pin.
        path: PathBuf,
        /// Its layout.
        found: String,
        /// The expected layout.
        wanted: String,
    },
    /// The kernel has not accepted a program, or the pin is of something else.
    #[error("{action} program {name}")]
    Program {
        /// What failed.
        action: &'static str,
        /// Which.
        name: String,
        /// Why it failed.
        source: Box<ProgramError>,
    },
    /// A program, map or link could not be pinned.
    #[error("pin {}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: PinError,
    },
    /// The link of a program to a cgroup.
    #[error("{action} link {}", path.display())]
    Link {
        /// What failed.
        action: &'static str,
        /// Its pin.
        path: PathBuf,
        /// Why it failed.
        source: LinkError,
    },
    /// A map.
    #[error("{action} map {name}")]
    Map {
        /// What failed.
        action: &'static str,
        /// Which.
        name: &'static str,
        /// Why it failed.
        source: Box<MapError>,
    },
    /// A request to the kernel about a device's filters.
    #[error("{step} of device {ifindex}")]
    Filter {
        /// What was asked for.
        step: &'static str,
        /// The index of the device.
        ifindex: u32,
        /// Why it failed.
        source: io::Error,
    },
    /// A filter of another tool has the priority and handle of Weir's.
    #[error("device {ifindex} has the filter {found} in the place of Weir's {wanted}")]
    Foreign {
        /// The index of the device.
        ifindex: u32,
        /// The name of the found filter.
        found: String,
        /// The name of Weir's.
        wanted: String,
    },
    /// The cookie of the network namespace.
    #[error("get the network namespace's cookie")]
    Cookie(#[source] io::Error),
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Whether a map has no room for another entry.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.errno(),
            Some(rustix::io::Errno::TOOBIG | rustix::io::Errno::NOSPC | rustix::io::Errno::NOMEM)
        )
    }

    /// Whether the pin or the device does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV))
    }

    /// The error number at the root, if there is one.
    fn errno(&self) -> Option<rustix::io::Errno> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return rustix::io::Errno::from_io_error(io);
            }
            cause = error.source();
        }
        None
    }
}
