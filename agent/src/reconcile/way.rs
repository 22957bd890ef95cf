//! What a resync makes way for: it looks at all there is, which a new world does not wait for.

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
