//! The end that sources publish on: readers are woken when there is something new, only then.

use std::sync::Arc;

use super::{Publisher, SourceStatus};
use weir_model::Snapshot;

/// Publishes how the source is doing and, if there is one, a snapshot; what is the same as before
/// wakes nobody.
pub(crate) fn publish(
    publisher: &Publisher,
    snapshot: Option<Arc<Snapshot>>,
    status: SourceStatus,
) {
    publisher.send_if_modified(|published| {
        let new_snapshot = snapshot.is_some() && published.snapshot != snapshot;
        if new_snapshot {
            if let Some(Snapshot { nodes, services, slices }) = snapshot.as_deref() {
                let (nodes, services, slices) = (nodes.len(), services.len(), slices.len());
                tracing::debug!(nodes, services, slices, "the cluster has changed");
            }
            published.snapshot = snapshot;
        }
        let new_problems = published.status.problems != status.problems;
        if new_problems {
            log(&published.status.problems, &status.problems);
        }
        published.status = status;
        new_snapshot || new_problems
    });
}

/// Says what is wrong now, and when nothing is any more.
fn log(before: &[String], now: &[String]) {
    for problem in now.iter().filter(|problem| !before.contains(problem)) {
        tracing::warn!(problem, "the cluster's state is not known in full");
    }
    if now.is_empty() {
        tracing::info!("the cluster's state is known in full again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Published;
    use super::*;

    #[test]
    fn readers_are_woken_by_what_is_new_and_by_nothing_else() {
        let (publisher, mut reader) = tokio::sync::watch::channel(Published::default());
        let status = |problems: &[&str]| SourceStatus {
            in_step: Some(Instant::now()),
            problems: problems.iter().map(|text| (*text).to_owned()).collect(),
        };
        let mut wakes = |snapshot: Option<Snapshot>, problems: &[&str]| {
            publish(&publisher, snapshot.map(Arc::new), status(problems));
            let woken = reader.has_changed().unwrap();
            reader.mark_unchanged();
            woken
        };
        assert!(wakes(Some(Snapshot::default()), &[]));
        assert!(!wakes(Some(Snapshot::default()), &[]));
        assert!(!wakes(None, &[]));
        assert!(wakes(None, &["away"]));
        assert!(!wakes(None, &["away"]));
        assert!(wakes(None, &[]));
    }

    #[test]
    fn a_problem_does_not_take_the_snapshot_away() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        publish(&publisher, Some(Arc::default()), SourceStatus::default());
        publish(&publisher, None, SourceStatus { in_step: None, problems: vec!["away".into()] });
        assert!(reader.borrow().snapshot.is_some());
    }
}
