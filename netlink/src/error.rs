//! The error of every verb: the step that failed, the cause, and predicates for callers.

use std::{io, time::Duration};

use rustix::io::Errno;

/// A verb that failed.
///
/// Its `Display` names the step and its subject (`create veth weir0a1b2c3d4e5`); the cause is the
/// `source`.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct Error {
    step: String,
    #[source]
    cause: Cause,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The kernel returned an error number, or a system call did.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// The kernel did not respond within the time limit.
    #[error("the kernel did not respond within {0:?}")]
    TimedOut(Duration),
    /// The task that drives the socket ended before the response came.
    #[error("the netlink socket was closed")]
    Closed,
    /// A required attribute is missing, or the response has another type.
    #[error("the kernel's response lacks {0}")]
    Malformed(&'static str),
    /// A link of that name exists and is of another kind.
    #[error("it exists and is a {found} link, not a {wanted} link")]
    OtherKind { wanted: &'static str, found: String },
}

impl Error {
    pub(crate) fn new(step: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { step: step.into(), cause: cause.into() }
    }

    /// The outcome of a deletion: whether there was something to delete.
    pub(crate) fn absent_is_false(outcome: Result<(), Self>) -> Result<bool, Self> {
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn into_cause(self) -> Cause {
        self.cause
    }

    /// The error number, if the kernel gave one.
    fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::Kernel(error) => Errno::from_io_error(error),
            _ => None,
        }
    }

    /// The subject, or a link that it refers to, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::NODEV | Errno::NOENT | Errno::SRCH | Errno::ADDRNOTAVAIL)
        )
    }

    /// Something with the same name or key exists already.
    pub fn is_already_there(&self) -> bool {
        matches!(self.errno(), Some(Errno::EXIST))
    }

    /// The bridge has as many ports as the kernel allows.
    pub fn is_bridge_full(&self) -> bool {
        matches!(self.errno(), Some(Errno::XFULL))
    }

    /// The kernel did not respond in time; a later try may succeed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.cause, Cause::TimedOut(_))
    }

    /// The kernel does not support the request (a module or an option is missing).
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT))
    }

    /// The caller lacks CAP_NET_ADMIN, or the file system is read-only.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::ROFS))
    }

    /// A link of that name exists and is of another kind than the verb needs.
    pub fn is_other_kind(&self) -> bool {
        matches!(self.cause, Cause::OtherKind { .. })
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno.into())
    }
}
