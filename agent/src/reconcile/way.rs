//! What a resync makes way for: it looks at all there is, which a new snapshot does not wait for.

use std::time::{Duration, Instant};

use super::{
    error::Error,
    trigger::{RightOfWay, Trigger},
};

/// Whether a pass makes way, and for what.
pub(super) struct Way(Option<RightOfWay>);

impl Way {
    /// The way of a pass. Resyncs have made way since `made_way`; when that is longer than one takes
    /// to come again, the next one does not.
    pub(super) fn new(
        trigger: &Trigger,
        right: RightOfWay,
        made_way: Option<Instant>,
        resync: Duration,
    ) -> Self {
        let is_patient = made_way.is_none_or(|since| since.elapsed() < resync);
        Self((*trigger == Trigger::Resync && is_patient).then_some(right))
    }

    /// Does what changes nothing, unless it is to make way.
    pub(super) async fn unless_claimed<T, E: Into<Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let Some(right) = &mut self.0 else { return work.await.map_err(Into::into) };
        tokio::select! {
            biased;
            () = right.claimed() => Err(Error::MadeWay),
            outcome = work => outcome.map_err(Into::into),
        }
    }

    /// Between two steps, each of which is done whole.
    pub(super) fn yield_if_claimed(&self) -> Result<(), Error> {
        match &self.0 {
            Some(right) if right.is_claimed() => Err(Error::MadeWay),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use weir_cluster::Published;

    const RESYNC: Duration = Duration::from_secs(10);

    /// Whether a pass that begins now gives up reading when the source has other nodes.
    async fn gives_up(trigger: Trigger, made_way: Option<Instant>) -> bool {
        let (publisher, published) = watch::channel(Published::default());
        let mut way = Way::new(&trigger, RightOfWay::of(published), made_way, RESYNC);
        assert!(way.yield_if_claimed().is_ok(), "nobody claims it");
        let snapshot = Some(Arc::default());
        publisher.send_replace(Published { snapshot, ..Published::default() });
        let read = way.unless_claimed(async { Ok::<_, Error>(()) }).await;
        let made_way = matches!(read, Err(Error::MadeWay));
        assert_eq!(way.yield_if_claimed().is_err(), made_way);
        made_way
    }

    #[tokio::test]
    async fn a_resync_makes_way_for_new_nodes_and_no_other_pass_does() {
        assert!(gives_up(Trigger::Resync, None).await);
        for trigger in [Trigger::Source, Trigger::Retry] {
            assert!(!gives_up(trigger, None).await);
        }
    }

    #[tokio::test]
    async fn a_resync_that_was_put_off_for_long_comes_to_its_end() {
        let now = Instant::now();
        let long_ago = now.checked_sub(RESYNC).unwrap();
        assert!(gives_up(Trigger::Resync, Some(now)).await);
        assert!(!gives_up(Trigger::Resync, Some(long_ago)).await);
    }
}
