//! The room in the maps, and what comes of it when there is too little.

use std::collections::BTreeSet;
use std::time::Instant;

use thiserror::Error;

use super::super::diff::Op;
use super::super::tables::{FrontendKey, Range};
use super::Ledger;
use weir_model::ObjectName;

/// How much the maps can hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Frontends of each family.
    pub frontends: usize,
    /// Backends of each family.
    pub backends: usize,
    /// Slots, of both families together.
    pub slots: u32,
}

/// Why a Service is not in the maps as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// There is no room for a set of backends.
    #[error("no room for {wanted} slots: {free} of {capacity} are free{}", if *.resting > 0 { ", and some soon will be" } else { "" })]
    Slots {
        /// How many the set needs.
        wanted: u32,
        /// How many are free.
        free: u32,
        /// How many will be free after the grace period.
        resting: u32,
        /// How many there are.
        capacity: u32,
    },
    /// There is no room for its backends.
    #[error("no room for {wanted} backends: {used} of {capacity} are in use")]
    Backends {
        /// How many more it needs.
        wanted: usize,
        /// How many are in use.
        used: usize,
        /// How many there can be.
        capacity: usize,
    },
    /// There is no room for its frontends.
    #[error("no room for {wanted} frontends: {used} of {capacity} are in use")]
    Frontends {
        /// How many more it needs.
        wanted: usize,
        /// How many are in use.
        used: usize,
        /// How many there can be.
        capacity: usize,
    },
    /// An older Service has the same address and port.
    #[error("{key} belongs to the older service {owner}")]
    Taken {
        /// The frontend.
        key: FrontendKey,
        /// The other Service.
        owner: ObjectName,
    },
}

impl Problem {
    /// All that [`Problem::kind`] says.
    pub const KINDS: [&str; 4] = ["slots", "backends", "frontends", "address"];

    /// What there is too little of, for metrics.
    pub const fn kind(&self) -> &'static str {
        let [slots, backends, frontends, address] = Self::KINDS;
        match self {
            Self::Slots { .. } => slots,
            Self::Backends { .. } => backends,
            Self::Frontends { .. } => frontends,
            Self::Taken { .. } => address,
        }
    }
}

/// What is in use of each family's maps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Frontends.
    pub frontends: usize,
    /// Backends.
    pub backends: usize,
}

impl Ledger {
    /// If slots are free, but not in one piece, makes a piece: what is in the way moves elsewhere,
    /// and when it has rested the Service is tried again.
    pub(super) fn make_room(
        &mut self,
        name: &ObjectName,
        problem: &Problem,
        now: Instant,
        ops: &mut Vec<Op>,
    ) {
        let Problem::Slots { wanted, free, .. } = *problem else { return };
        if self.window_for.is_some() || free < wanted {
            return;
        }
        let others = self.users.iter().filter(|(_, user)| *user != name);
        let movable = others.map(|(range, _)| *range).collect();
        let Some(moved) = self.slots.reserve(wanted, &movable) else { return };
        self.window_for = Some(name.clone());
        let users: BTreeSet<ObjectName> =
            moved.iter().filter_map(|range| self.users.get(range).cloned()).collect();
        for user in users {
            // One that finds no other place stays, and the window is never free.
            self.realize(&user, now, ops);
        }
        let window = self.slots.window();
        let stuck = |range: &Range| window.is_some_and(|window| window.overlaps(*range));
        if self.users.keys().any(stuck) {
            self.slots.release_window();
            self.window_for = None;
        }
    }
}
