//! The programs at the devices of pods, of the overlay and of the uplink.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_datapath::{Error, Hook};

/// The program at a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Found {
    /// The pinned program.
    Current {
        /// Its ID.
        id: u32,
    },
    /// A program of Weir that is not the pinned one.
    Outdated {
        /// Its ID.
        id: u32,
        /// The ID of the pinned program.
        pinned_id: u32,
    },
    /// No program.
    Missing,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Current { id } => write!(f, "{id}"),
            Self::Outdated { id, .. } => write!(f, "{id} (outdated)"),
            Self::Missing => f.write_str("missing"),
        }
    }
}

/// The IDs of the pinned programs, by name.
pub(crate) type Pinned = BTreeMap<&'static str, u32>;

/// The program at a hook of a device. A device that does not exist has none.
pub(crate) fn find(ifindex: u32, hook: Hook, pinned: &Pinned) -> Result<Found, Error> {
    let attached = match weir_datapath::list(ifindex, hook) {
        Err(error) if error.is_not_found() => None,
        attached => attached?,
    };
    Ok(compare(attached.map(|found| found.program), pinned.get(hook.program()).copied()))
}

/// Compares the attached program with the pinned one.
pub(crate) fn compare(attached: Option<u32>, pinned: Option<u32>) -> Found {
    match (attached, pinned) {
        (None, _) => Found::Missing,
        (Some(id), Some(pinned_id)) if id != pinned_id => Found::Outdated { id, pinned_id },
        (Some(id), _) => Found::Current { id },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_current_if_it_is_the_pinned_one() {
        assert_eq!(compare(Some(7), Some(7)), Found::Current { id: 7 });
        assert_eq!(compare(Some(7), Some(9)), Found::Outdated { id: 7, pinned_id: 9 });
        assert_eq!(compare(None, Some(9)), Found::Missing);
    }
}
