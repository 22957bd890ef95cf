//! What went wrong.

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
        /// What was to be done with it.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder for pins is on another kind of file system.
    #[error("{} is not on a BPF file system", path.display())]
    NoBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// The object with all programs and maps was not accepted.
    #[error("load the eBPF object")]
    Object(#[source] Box<aya::EbpfError>),
    /// A pinned map is not as this version needs it.
    #[error("map {} has {found}, where {wanted} is needed", path.display())]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What was expected.
        wanted: String,
    },
    /// The kernel did not accept a program, or a pin is no such program.
    #[error("{action} program {name}")]
    Program {
        /// What was to be done with it.
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
        /// What was to be done with it.
        action: &'static str,
        /// Its pin.
        path: PathBuf,
        /// Why it failed.
        source: LinkError,
    },
    /// A map.
    #[error("{action} map {name}")]
    Map {
        /// What was to be done with it.
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
    /// Another program has the place that Weir uses.
    #[error("device {ifindex} has {found} where Weir's {wanted} belongs")]
    Foreign {
        /// The index of the device.
        ifindex: u32,
        /// The name of the filter that is there.
        found: String,
        /// The name of Weir's.
        wanted: String,
    },
    /// The identity of the network namespace.
    #[error("ask for the network namespace's cookie")]
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

    /// A map has no room for another entry.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.errno(),
            Some(rustix::io::Errno::TOOBIG | rustix::io::Errno::NOSPC | rustix::io::Errno::NOMEM)
        )
    }

    /// What is to be opened, or the device, is not there.
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
