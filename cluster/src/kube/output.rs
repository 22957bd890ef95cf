//! Where all watches of a source put the changes that they receive.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::Publisher;
use crate::kinds::Kind;
use crate::resource_state::SourceError;
use crate::state_assembler::{ResourceEvent, StateAssembler};

/// The assembler that the watches share, and the publisher of its snapshots.
#[derive(Debug)]
pub(super) struct Output<'a> {
    assembler: Mutex<StateAssembler>,
    publisher: &'a Publisher,
}

impl<'a> Output<'a> {
    pub(super) const fn new(assembler: StateAssembler, publisher: &'a Publisher) -> Self {
        Self { assembler: Mutex::new(assembler), publisher }
    }

    /// Takes in a change without publishing it.
    pub(super) fn handle(&self, kind: Kind, event: ResourceEvent) {
        self.assembler().handle(kind, event);
    }

    /// Publishes that the state of a kind is that of the API server.
    pub(super) fn mark_synced(&self, kind: Kind) {
        let mut assembler = self.assembler();
        assembler.state(kind).mark_synced(Instant::now());
        assembler.publish(self.publisher);
    }

    /// Publishes an error of the watch of a kind.
    pub(super) fn record_error(&self, kind: Kind, error: SourceError) {
        let mut assembler = self.assembler();
        assembler.state(kind).record_error(error);
        assembler.publish(self.publisher);
    }

    /// Waits until the publisher has no readers.
    pub(super) async fn closed(&self) {
        self.publisher.closed().await;
    }

    fn assembler(&self) -> MutexGuard<'_, StateAssembler> {
        // No code panics in the middle of a change.
        self.assembler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
