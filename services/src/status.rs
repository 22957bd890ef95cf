//! The state of the Services, for health, metrics and the log.

use std::collections::BTreeMap;

use super::allocator::{Capacity, Problem, Use};
use super::engine::Engine;
use weir_model::{Family, ObjectName};

/// The state of the Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a snapshot has been processed.
    pub synced: bool,
    /// Why the maps may differ from their desired contents.
    pub failure: Option<String>,
    /// The Services that are not fully in the maps, and why.
    pub problems: BTreeMap<ObjectName, Problem>,
    /// The number of Services.
    pub services: usize,
    /// The number of their endpoints in the maps. An endpoint counts once for each port.
    pub endpoints: usize,
    /// How many entries of each family's maps are in use.
    pub in_use: BTreeMap<Family, Use>,
    /// The number of slots that are in use or in quarantine.
    pub slots: u32,
    /// How many entries the maps can hold.
    pub capacity: Capacity,
}

impl Status {
    /// The status of an engine that has processed a snapshot.
    pub fn of(engine: &Engine, failure: Option<String>) -> Self {
        let allocator = engine.allocator();
        let capacity = allocator.capacity();
        let (free, _) = allocator.free_slots();
        let of_family = |family| (family, allocator.in_use(family));
        let problems = allocator.problems().map(|(name, problem)| (name.clone(), problem.clone()));
        Self {
            synced: true,
            failure,
            problems: problems.collect(),
            services: allocator.services(),
            endpoints: allocator.endpoints(),
            in_use: [Family::V4, Family::V6].map(of_family).into(),
            slots: capacity.slots.saturating_sub(free),
            capacity,
        }
    }

    /// Whether Services are in the maps, or why not. A Service with a [`Problem`] does not make the
    /// node unready, because the others work.
    pub fn condition(&self) -> Result<(), String> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.synced => Ok(()),
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
        status.synced = true;
        assert_eq!(status.condition(), Ok(()));
        status.failure = Some("no memory".to_owned());
        assert_eq!(status.condition(), Err("no memory".to_owned()));
        status.synced = false;
        assert_eq!(status.condition(), Err("no memory".to_owned()));
    }
}
