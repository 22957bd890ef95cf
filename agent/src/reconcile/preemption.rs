//! Preempting a resync: it reads all of Weir's state in the kernel, and a new snapshot does not wait
//! for it.

use std::time::{Duration, Instant};

use super::{error::Error, nodes_watch::NodesWatch, trigger::Trigger};

/// Whether a pass can be preempted, and by which nodes.
pub(super) struct Preemption(Option<NodesWatch>);

impl Preemption {
    /// The preemption of a pass. Only a resync can be preempted. `preempted_since` is when the first
    /// of the resyncs began that were preempted without a whole one in between: once that is longer
    /// ago than `resync`, the next resync runs to its end.
    pub(super) fn new(
        trigger: &Trigger,
        nodes: NodesWatch,
        preempted_since: Option<Instant>,
        resync: Duration,
    ) -> Self {
        let may_wait = preempted_since.is_none_or(|since| since.elapsed() < resync);
        Self((*trigger == Trigger::Resync && may_wait).then_some(nodes))
    }

    /// Runs work that changes nothing, and drops it when the pass is preempted.
    pub(super) async fn run_unless_preempted<T, E: Into<Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let Some(nodes) = &mut self.0 else { return work.await.map_err(Into::into) };
        tokio::select! {
            biased;
            () = nodes.changed() => Err(Error::Preempted),
            outcome = work => outcome.map_err(Into::into),
        }
    }

    /// Ends the pass if it is preempted. Call it between two steps: a step that has begun is
    /// finished.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.0 {
            Some(nodes) if nodes.has_changed() => Err(Error::Preempted),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;
    use weir_cluster::Published;

    use super::*;

    const RESYNC: Duration = Duration::from_secs(10);

    /// Whether a pass that begins now stops reading when the source publishes other nodes.
    async fn is_preempted(trigger: Trigger, preempted_since: Option<Instant>) -> bool {
        let (publisher, published) = watch::channel(Published::default());
        let nodes = NodesWatch::new(published, None);
        let mut preemption = Preemption::new(&trigger, nodes, preempted_since, RESYNC);
        assert!(preemption.check().is_ok(), "the nodes have not changed");
        let snapshot = Some(Arc::default());
        publisher.send_replace(Published { snapshot, ..Published::default() });
        let read = preemption.run_unless_preempted(async { Ok::<_, Error>(()) }).await;
        let is_preempted = matches!(read, Err(Error::Preempted));
        assert_eq!(preemption.check().is_err(), is_preempted);
        is_preempted
    }

    #[tokio::test]
    async fn new_nodes_preempt_a_resync_and_no_other_pass() {
        assert!(is_preempted(Trigger::Resync, None).await);
        for trigger in [Trigger::Source, Trigger::Retry] {
            assert!(!is_preempted(trigger, None).await);
        }
    }

    #[tokio::test]
    async fn a_resync_that_was_preempted_for_long_runs_to_its_end() {
        let now = Instant::now();
        let long_ago = now.checked_sub(RESYNC).unwrap();
        assert!(is_preempted(Trigger::Resync, Some(now)).await);
        assert!(!is_preempted(Trigger::Resync, Some(long_ago)).await);
    }
}
