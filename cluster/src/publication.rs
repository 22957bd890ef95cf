//! Publishing snapshots: readers are woken by changes only.

use std::sync::Arc;

use super::{Publisher, SourceStatus};
use crate::kinds::log_change;
use weir_model::Snapshot;

/// Publishes the status of the source and, if there is one, a snapshot. Readers are not woken if both
/// are the same as before.
pub(crate) fn publish(
    publisher: &Publisher,
    snapshot: Option<Arc<Snapshot>>,
    status: SourceStatus,
) {
    publisher.send_if_modified(|published| {
        let new_snapshot = snapshot.is_some() && published.snapshot != snapshot;
        if new_snapshot {
            if let Some(snapshot) = &snapshot {
                log_change(snapshot);
            }
            published.snapshot = snapshot;
        }
        let new_problems = published.status.problems != status.problems;
        if new_problems {
            log_problems(&published.status.problems, &status.problems);
        }
        published.status = status;
        new_snapshot || new_problems
    });
}

/// Logs new problems, and the end of all problems.
fn log_problems(before: &[String], now: &[String]) {
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
    fn readers_are_woken_by_changes_only() {
        let (publisher, mut reader) = tokio::sync::watch::channel(Published::default());
        let status = |problems: &[&str]| SourceStatus {
            last_synced: Some(Instant::now()),
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
    fn a_problem_does_not_remove_the_snapshot() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        publish(&publisher, Some(Arc::default()), SourceStatus::default());
        publish(
            &publisher,
            None,
            SourceStatus { last_synced: None, problems: vec!["away".into()] },
        );
        assert!(reader.borrow().snapshot.is_some());
    }
}
