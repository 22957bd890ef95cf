//! Pinned programs that can be attached to devices.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use aya::programs::{ProgramError, SchedClassifier};

use crate::{Error, Hook, Pins, pinned};

/// A program for network devices.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    path: PathBuf,
    hook: Hook,
    id: u32,
}

impl Program {
    /// Opens the pinned program for a hook.
    ///
    /// # Errors
    /// When it is not pinned ([`Error::is_not_found`]), or the caller lacks the privilege.
    pub fn open(pins: &Pins, hook: Hook) -> Result<Self, Error> {
        let path = pins.program(hook.program());
        let (fd, id) = pinned::open(&path).map_err(|error| Error::Program {
            action: "open",
            name: hook.program().to_owned(),
            source: Box::new(ProgramError::IOError(error)),
        })?;
        Ok(Self { fd, path, hook, id })
    }

    /// The hook that it is for.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Its ID in the kernel.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The program as aya can run it on a packet (`BPF_PROG_TEST_RUN`).
    pub(crate) fn runner(&self) -> Result<SchedClassifier, Error> {
        SchedClassifier::from_pin(&self.path).map_err(|source| Error::Program {
            action: "open",
            name: self.hook.program().to_owned(),
            source: Box::new(source),
        })
    }

    /// Its descriptor, which is valid as long as `self`.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
