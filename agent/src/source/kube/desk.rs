//! Where what is followed comes together: a world is published when all of it has been listed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::followed::Followed;
use super::trouble::Trouble;
use crate::model::{Nodes, World};
use crate::source::publication::publish;
use crate::source::{Publisher, SourceStatus};

/// What is known of each kind.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) nodes: Section<Arc<Nodes>>,
}

/// What is known of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Section<C> {
    /// Its objects, once they have all been listed.
    pub(super) contents: Option<C>,
    /// What is in the way.
    pub(super) trouble: Option<Trouble>,
    /// Values that cannot be right.
    pub(super) wrong: Vec<String>,
    /// When it was last known to be in step with the API server.
    pub(super) in_step: Option<Instant>,
}

/// The desk, and the end that worlds leave by.
#[derive(Debug)]
pub(super) struct Outbox<'a> {
    desk: &'a Mutex<Desk>,
    publisher: &'a Publisher,
}

impl<'a> Outbox<'a> {
    pub(super) const fn new(desk: &'a Mutex<Desk>, publisher: &'a Publisher) -> Self {
        Self { desk, publisher }
    }

    /// Puts the news of one kind on the desk, and publishes.
    pub(super) fn post<K: Followed>(&self, section: Section<K::Contents>) {
        // Nothing panics between two halves of a change.
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        *K::section(&mut desk) = section;
        publish(self.publisher, desk.world().map(Arc::new), desk.status());
    }

    /// Waits until nobody reads what is published.
    pub(super) async fn closed(&self) {
        self.publisher.closed().await;
    }
}

impl Desk {
    /// The world, once everything in it has been listed.
    fn world(&self) -> Option<World> {
        let Self { nodes } = self;
        Some(World { nodes: nodes.contents.clone()?, ..World::default() })
    }

    fn status(&self) -> SourceStatus {
        let Self { nodes } = self;
        let troubles = nodes.trouble.iter().map(Trouble::text);
        let problems = troubles.chain(nodes.wrong.iter().cloned()).collect();
        SourceStatus { in_step: nodes.in_step, problems }
    }
}
