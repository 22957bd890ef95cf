//! Which files of the directory may have changed.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};

/// The files that may have changed. By default that is any file.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The files that were reported; none if others may have changed too.
    pub(super) only: Option<HashSet<OsString>>,
    /// The files that were reported if others may have changed too.
    pub(super) among: HashSet<OsString>,
    /// The files that a writer has open.
    pub(super) being_written: HashSet<OsString>,
}

impl Changes {
    /// Only these files.
    #[cfg(test)]
    pub(super) fn of(names: impl IntoIterator<Item = OsString>) -> Self {
        Self { only: Some(names.into_iter().collect()), ..Self::default() }
    }

    /// The only files that may have changed, if that is known.
    pub(super) const fn only(&self) -> Option<&HashSet<OsString>> {
        self.only.as_ref()
    }

    /// The same, but others may have changed too.
    pub(super) fn among_others(self) -> Self {
        let Self { only, mut among, being_written } = self;
        among.extend(only.into_iter().flatten());
        Self { only: None, among, being_written }
    }

    /// Whether the file was reported.
    pub(super) fn names(&self, name: &OsStr) -> bool {
        self.only.as_ref().unwrap_or(&self.among).contains(name)
    }

    /// Whether a writer has the file open, so that half of it might be read.
    pub(super) fn is_being_written(&self, name: &OsStr) -> bool {
        self.being_written.contains(name)
    }
}
