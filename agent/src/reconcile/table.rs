//! The nftables table in a pass: when it is compared, and what happens if it cannot be written.

use std::sync::Arc;

use tracing::{info, warn};

use crate::{
    causes::causes,
    datapath::Operations,
    events::Concern,
    health::{Condition, Health},
    masquerade::{self, Error, Masquerade, Outcome, Refused},
};

/// The table and what is known of it.
#[derive(Debug)]
pub(super) struct Table {
    /// The input that it was last written from; `None` if it may be otherwise. The table is read again
    /// after the kernel has notified about a change of it, and in every resync.
    written: Option<Arc<Masquerade>>,
    /// Why it cannot be written.
    obstacle: Option<Concern>,
    /// The table's counters when they were last read.
    refused: Refused,
    health: Arc<Health>,
}

impl Table {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self { written: None, obstacle: None, refused: Refused::default(), health }
    }

    /// The input that the table was last written from; `None` if it may be otherwise.
    pub(super) const fn written(&self) -> Option<&Arc<Masquerade>> {
        self.written.as_ref()
    }

    /// Another program may have changed the table.
    pub(super) fn forget(&mut self) {
        self.written = None;
    }

    pub(super) fn obstacle(&self) -> Option<Concern> {
        self.obstacle.clone()
    }

    /// Writes the table as wanted, and returns what was done. A resync reads the table even if the
    /// input is the same. If that fails, the table stays as it was.
    pub(super) async fn ensure(
        &mut self,
        wanted: Masquerade,
        is_resync: bool,
    ) -> Result<Operations, Error> {
        if !is_resync && self.written.as_deref() == Some(&wanted) {
            return Ok(Operations::new());
        }
        let outcome = match self.written.take().filter(|_| !is_resync) {
            Some(written) => masquerade::follow_peers(&written, &wanted).await,
            None => masquerade::ensure(&wanted).await,
        };
        let met = outcome.as_ref().map(drop).map_err(|error| causes(error));
        self.obstacle = met
            .as_ref()
            .err()
            .map(|obstacle| Concern::TableOutdated { obstacle: obstacle.clone() });
        self.health.set(Condition::TableWritten, met);
        let mut operations = Operations::new();
        match outcome? {
            Outcome::Kept => {}
            Outcome::Written(masquerade::Reason::Peers) => {
                *operations.entry("nftables_peers").or_default() += 1;
            }
            Outcome::Written(reason) => {
                info!(?reason, "wrote the nftables table");
                *operations.entry("nftables_write").or_default() += 1;
            }
        }
        if is_resync && wanted.tunnel.is_some() {
            self.count_refused().await;
        }
        self.written = Some(Arc::new(wanted));
        Ok(operations)
    }

    async fn count_refused(&mut self) {
        match masquerade::refused().await {
            Ok(found) => {
                let Refused { from_pods, from_others } = found.since(self.refused);
                self.health.record_refused(from_pods, from_others);
                self.refused = found;
            }
            Err(error) => warn!(error = causes(&error), "cannot read the table's counters"),
        }
    }
}
