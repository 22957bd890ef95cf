//! A program that is pinned and can be attached to devices.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::programs::SchedClassifier;

use crate::{Error, Hook, Pins};

/// A program for network devices.
#[derive(Debug)]
pub struct Program {
    inner: SchedClassifier,
    hook: Hook,
    id: u32,
}

impl Program {
    /// Opens the pinned program for a hook.
    ///
    /// # Errors
    /// When it is not pinned ([`Error::is_not_found`]), or the caller has not the right.
    pub fn open(pins: &Pins, hook: Hook) -> Result<Self, Error> {
        let failed = |action| {
            move |source| Error::Program {
                action,
                name: hook.program().to_owned(),
                source: Box::new(source),
            }
        };
        let inner =
            SchedClassifier::from_pin(pins.program(hook.program())).map_err(failed("open"))?;
        let id = inner.info().map_err(failed("look at"))?.id();
        Ok(Self { inner, hook, id })
    }

    /// Where it belongs.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// The kernel's number of it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What runs it.
    pub(crate) fn inner(&self) -> &SchedClassifier {
        &self.inner
    }

    /// Its descriptor, for as long as it is borrowed.
    pub(crate) fn raw_fd(&self) -> Result<RawFd, Error> {
        let fd = self.inner.fd().map_err(|source| Error::Program {
            action: "use",
            name: self.hook.program().to_owned(),
            source: Box::new(source),
        })?;
        Ok(fd.as_fd().as_raw_fd())
    }
}
