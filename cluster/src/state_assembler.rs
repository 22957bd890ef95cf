//! The one pipeline from the sources to a snapshot: both sources hand it decoded objects, and a
//! snapshot is published when all kinds have been listed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::kinds::{DecodedObject, Kind, ObjectKey};
use crate::publication::publish;
use crate::resource_state::{ResourceState, SourceError};
use crate::{Publisher, SourceStatus};
use weir_model::Snapshot;

/// Assembles a snapshot from the states of all kinds.
#[derive(Debug)]
pub(crate) struct StateAssembler {
    snapshot: Snapshot,
    states: BTreeMap<Kind, ResourceState>,
    problems: Vec<String>,
}

/// A change of the objects of one kind.
#[derive(Debug)]
pub(crate) enum ResourceEvent {
    /// A new list begins.
    ListBegun,
    /// An object of the new list.
    Listed(DecodedObject),
    /// The new list is complete.
    ListComplete,
    /// An object is new or changed.
    Applied(DecodedObject),
    /// An object was deleted.
    Deleted(DecodedObject),
}

impl StateAssembler {
    /// An assembler whose source follows these kinds.
    pub(crate) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let states = kinds.into_iter().map(|kind| (kind, ResourceState::default()));
        Self { snapshot: Snapshot::default(), states: states.collect(), problems: Vec::new() }
    }

    /// Takes in a change of one kind.
    pub(crate) fn handle(&mut self, kind: Kind, event: ResourceEvent) {
        let Self { snapshot, states, .. } = self;
        let state = states.entry(kind).or_default();
        match event {
            ResourceEvent::ListBegun => state.begin_list(),
            ResourceEvent::Listed(object) => state.add_to_list(object),
            ResourceEvent::ListComplete => state.finish_list(snapshot),
            ResourceEvent::Applied(object) => state.upsert(object, snapshot),
            ResourceEvent::Deleted(object) => state.delete(&object, snapshot),
        }
    }

    /// Removes objects and puts in others, of any kinds.
    pub(crate) fn replace(&mut self, removed: &[ObjectKey], objects: Vec<DecodedObject>) {
        let Self { snapshot, states, .. } = self;
        for key in removed {
            states.entry(key.kind).or_default().remove(&key.name, snapshot);
        }
        let mut by_kind = BTreeMap::<Kind, Vec<DecodedObject>>::new();
        for object in objects {
            by_kind.entry(object.key.kind).or_default().push(object);
        }
        for (kind, objects) in by_kind {
            states.entry(kind).or_default().upsert_all(objects, snapshot);
        }
    }

    /// The state of one kind.
    pub(crate) fn state(&mut self, kind: Kind) -> &mut ResourceState {
        self.states.entry(kind).or_default()
    }

    /// Records that everything has been read and is the source's state now.
    pub(crate) fn mark_all_synced(&mut self) {
        let now = Instant::now();
        for state in self.states.values_mut() {
            state.mark_complete();
            state.mark_synced(now);
        }
    }

    /// Sets the problems of the source as a whole.
    pub(crate) fn set_problems(&mut self, problems: Vec<String>) {
        self.problems = problems;
    }

    /// The snapshot, once all kinds have been listed.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let is_complete = self.states.values().all(ResourceState::is_complete);
        is_complete.then(|| self.snapshot.clone())
    }

    /// Publishes what is known.
    pub(crate) fn publish(&self, publisher: &Publisher) {
        publish(publisher, self.snapshot().map(Arc::new), self.status());
    }

    fn status(&self) -> SourceStatus {
        let mut problems = self.problems.clone();
        let mut reported: Option<&SourceError> = None;
        for state in self.states.values() {
            let error = state.error().filter(|error| !(error.affects_all && reported.is_some()));
            problems.extend(error.map(|error| error.text.clone()));
            problems.extend(state.invalid().cloned());
            reported = reported.or(error.filter(|error| error.affects_all));
        }
        let last_synced = self.states.values().map(ResourceState::last_synced).min().flatten();
        SourceStatus { last_synced, problems }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Published;

    fn list(assembler: &mut StateAssembler, kind: Kind) {
        assembler.handle(kind, ResourceEvent::ListBegun);
        assembler.handle(kind, ResourceEvent::ListComplete);
        assembler.state(kind).mark_synced(Instant::now());
    }

    #[test]
    fn nothing_is_published_before_everything_has_been_listed() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        let mut assembler = StateAssembler::new([Kind::Node, Kind::Service, Kind::EndpointSlice]);
        list(&mut assembler, Kind::Node);
        list(&mut assembler, Kind::EndpointSlice);
        assembler.publish(&publisher);
        assert!(reader.borrow().snapshot.is_none());
        assert!(reader.borrow().status.last_synced.is_none());
        list(&mut assembler, Kind::Service);
        assembler.publish(&publisher);
        assert!(reader.borrow().snapshot.is_some());
        assert!(reader.borrow().status.last_synced.is_some());
    }

    #[test]
    fn without_services_the_nodes_are_everything() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        let mut assembler = StateAssembler::new([Kind::Node]);
        list(&mut assembler, Kind::Node);
        assembler.publish(&publisher);
        assert!(reader.borrow().snapshot.is_some());
    }

    #[test]
    fn an_error_that_affects_all_kinds_is_reported_once_and_others_for_each_kind() {
        let mut assembler = StateAssembler::new([Kind::Node, Kind::Service, Kind::EndpointSlice]);
        let error = |text: &str, affects_all| SourceError { text: text.into(), affects_all };
        assembler.state(Kind::Node).record_error(error("unreachable", true));
        assembler.state(Kind::EndpointSlice).record_error(error("unreachable", true));
        assert_eq!(assembler.status().problems, ["unreachable"]);
        list(&mut assembler, Kind::Node);
        assembler.state(Kind::Service).record_error(error("services denied", false));
        assembler.state(Kind::EndpointSlice).record_error(error("slices denied", false));
        assert_eq!(assembler.status().problems, ["services denied", "slices denied"]);
    }
}
