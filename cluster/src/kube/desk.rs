//! Where what is followed comes together: a snapshot is published when all of it has been listed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::followed::Followed;
use super::trouble::Trouble;
use crate::publication::publish;
use crate::{Publisher, SourceStatus};
use weir_model::{EndpointSlice, Nodes, Objects, Service, Snapshot};

/// What is known of each kind.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) nodes: Section<Arc<Nodes>>,
    pub(super) services: Section<Objects<Service>>,
    pub(super) slices: Section<Objects<EndpointSlice>>,
    /// Whether Services and slices are part of a snapshot.
    with_services: bool,
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

/// The desk, and the end that snapshots leave by.
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
        publish(self.publisher, desk.snapshot().map(Arc::new), desk.status());
    }

    /// Waits until nobody reads what is published.
    pub(super) async fn closed(&self) {
        self.publisher.closed().await;
    }
}

impl Desk {
    pub(super) fn new(with_services: bool) -> Self {
        Self { with_services, ..Self::default() }
    }

    /// The snapshot, once everything in it has been listed.
    fn snapshot(&self) -> Option<Snapshot> {
        let Self { nodes, services, slices, with_services } = self;
        let nodes = nodes.contents.clone()?;
        Some(if *with_services {
            let (services, slices) = (services.contents.clone()?, slices.contents.clone()?);
            Snapshot { nodes, services, slices }
        } else {
            Snapshot { nodes, ..Snapshot::default() }
        })
    }

    fn status(&self) -> SourceStatus {
        let Self { nodes, services, slices, with_services } = self;
        let mut problems = Vec::new();
        let mut in_step = nodes.in_step;
        // What is in the way of all kinds alike is said once.
        let mut concerns_all = false;
        let mut tell = |trouble: Option<&Trouble>, wrong: &[String]| {
            let told = trouble.filter(|trouble| !(concerns_all && trouble.concerns_all()));
            problems.extend(told.map(Trouble::text));
            problems.extend_from_slice(wrong);
            concerns_all |= trouble.is_some_and(Trouble::concerns_all);
        };
        tell(nodes.trouble.as_ref(), &nodes.wrong);
        if *with_services {
            tell(services.trouble.as_ref(), &services.wrong);
            tell(slices.trouble.as_ref(), &slices.wrong);
            let all = [in_step, services.in_step, slices.in_step];
            in_step = all.into_iter().min().flatten();
        }
        SourceStatus { in_step, problems }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::object::NodeObject;
    use super::super::trouble::Kind;
    use super::*;
    use crate::Published;
    use crate::service::ServiceObject;
    use crate::slice::SliceObject;

    fn listed<C: Default>() -> Section<C> {
        Section {
            contents: Some(C::default()),
            in_step: Some(Instant::now()),
            ..Section::default()
        }
    }

    fn troubled<C: Default>(kind: Kind) -> Section<C> {
        let trouble = Some(Trouble::next(None, kind, SystemTime::now()));
        Section { trouble, ..Section::default() }
    }

    #[test]
    fn nothing_is_published_before_everything_has_been_listed() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        let desk = Mutex::new(Desk::new(true));
        let outbox = Outbox::new(&desk, &publisher);
        outbox.post::<NodeObject>(listed());
        outbox.post::<SliceObject>(listed());
        assert!(reader.borrow().snapshot.is_none());
        assert!(reader.borrow().status.in_step.is_none());
        outbox.post::<ServiceObject>(listed());
        assert!(reader.borrow().snapshot.is_some());
        assert!(reader.borrow().status.in_step.is_some());
    }

    #[test]
    fn without_services_the_nodes_are_everything() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        let desk = Mutex::new(Desk::new(false));
        Outbox::new(&desk, &publisher).post::<NodeObject>(listed());
        assert!(reader.borrow().snapshot.is_some());
    }

    #[test]
    fn a_server_that_is_away_is_told_once_and_a_denied_verb_for_each_resource() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        let desk = Mutex::new(Desk::new(true));
        let outbox = Outbox::new(&desk, &publisher);
        let away = || Kind::Away { address: "a".into(), error: "refused".into() };
        outbox.post::<NodeObject>(troubled(away()));
        outbox.post::<SliceObject>(troubled(away()));
        assert_eq!(reader.borrow().status.problems.len(), 1);
        let denied = |resource| Kind::Denied { tried: ("list", resource), message: "no".into() };
        outbox.post::<NodeObject>(listed());
        outbox.post::<ServiceObject>(troubled(denied("services")));
        outbox.post::<SliceObject>(troubled(denied("endpointslices")));
        let problems = reader.borrow().status.problems.clone();
        assert!(problems[0].contains("`list` on `services`"), "{problems:?}");
        assert!(problems[1].contains("`list` on `endpointslices`"), "{problems:?}");
    }
}
