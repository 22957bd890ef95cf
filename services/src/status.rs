//! How Services are doing, for health, metrics and people.

use std::collections::BTreeMap;

use super::allocator::{Capacity, Problem, Use};
use super::engine::Engine;
use weir_model::{Family, ObjectName};

/// How Services are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a snapshot has been taken in.
    pub begun: bool,
    /// Why the maps may not hold what they should.
    pub failure: Option<String>,
    /// What is not as it should be, by Service.
    pub problems: BTreeMap<ObjectName, Problem>,
    /// Services that are known.
    pub services: usize,
    /// Their endpoints in the maps: each once for each port.
    pub endpoints: usize,
    /// What is in use of each family's maps.
    pub in_use: BTreeMap<Family, Use>,
    /// Slots that are in use, or were a moment ago.
    pub slots: u32,
    /// How much the maps can hold.
    pub capacity: Capacity,
}

impl Status {
    /// The status of an engine that has taken a snapshot in.
    pub fn of(engine: &Engine, failure: Option<String>) -> Self {
        let ledger = engine.ledger();
        let capacity = ledger.capacity();
        let (free, _) = ledger.free_slots();
        let of_family = |family| (family, ledger.in_use(family));
        let problems = ledger.problems().map(|(name, problem)| (name.clone(), problem.clone()));
        Self {
            begun: true,
            failure,
            problems: problems.collect(),
            services: ledger.services(),
            endpoints: ledger.endpoints(),
            in_use: [Family::V4, Family::V6].map(of_family).into(),
            slots: capacity.slots.saturating_sub(free),
            capacity,
        }
    }

    /// Whether Services are in the maps, or why not. Those that there is no room for, and that have
    /// an older one's address, do not make the node unfit for the others.
    pub fn condition(&self) -> Result<(), String> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.begun => Ok(()),
            None => Err("not yet".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_programmed_once_a_snapshot_is_in_the_maps_and_nothing_has_failed() {
        let mut status = Status::default();
        assert_eq!(status.condition(), Err("not yet".to_owned()));
        status.begun = true;
        assert_eq!(status.condition(), Ok(()));
        status.failure = Some("no memory".to_owned());
        assert_eq!(status.condition(), Err("no memory".to_owned()));
        status.begun = false;
        assert_eq!(status.condition(), Err("no memory".to_owned()));
    }
}
