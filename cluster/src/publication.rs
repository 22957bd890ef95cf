//! The end that sources publish on: readers are woken when there is something new, only then.

use std::sync::Arc;

use super::{Publisher, SourceStatus};
use weir_model::World;

/// Publishes how the source is doing and, if there is one, a world; what is the same as before
/// wakes nobody.
pub(crate) fn publish(publisher: &Publisher, world: Option<Arc<World>>, status: SourceStatus) {
    publisher.send_if_modified(|published| {
        let new_world = world.is_some() && published.world != world;
        if new_world {
            if let Some(World { nodes, services, slices }) = world.as_deref() {
                let (nodes, services, slices) = (nodes.len(), services.len(), slices.len());
                tracing::debug!(nodes, services, slices, "the cluster has changed");
            }
            published.world = world;
        }
        let new_problems = published.status.problems != status.problems;
        if new_problems {
            log(&published.status.problems, &status.problems);
        }
        published.status = status;
        new_world || new_problems
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
        let mut wakes = |world: Option<World>, problems: &[&str]| {
            publish(&publisher, world.map(Arc::new), status(problems));
            let woken = reader.has_changed().unwrap();
            reader.mark_unchanged();
            woken
        };
        assert!(wakes(Some(World::default()), &[]));
        assert!(!wakes(Some(World::default()), &[]));
        assert!(!wakes(None, &[]));
        assert!(wakes(None, &["away"]));
        assert!(!wakes(None, &["away"]));
        assert!(wakes(None, &[]));
    }

    #[test]
    fn a_problem_does_not_take_the_world_away() {
        let (publisher, reader) = tokio::sync::watch::channel(Published::default());
        publish(&publisher, Some(Arc::default()), SourceStatus::default());
        publish(&publisher, None, SourceStatus { in_step: None, problems: vec!["away".into()] });
        assert!(reader.borrow().world.is_some());
    }
}
