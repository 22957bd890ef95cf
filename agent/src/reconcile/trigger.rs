//! What starts a pass.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};
use tracing::warn;
use weir_cluster::Published;
use weir_datapath::filter::PRIORITY;
use weir_netlink::{
    Netlink,
    notify::{self, Change, Entry},
};

use super::echo::is_as_desired;
use weir_model::Nodes;

use crate::{
    masquerade,
    overlay::{ROUTE_PROTOCOL, plan::Desired},
};

/// Changes come in bursts: one that follows within this time belongs to the same pass …
const QUIET: Duration = Duration::from_millis(5);
/// … but no pass waits longer than this for the burst to end.
const BURST: Duration = Duration::from_millis(50);
/// What failed is tried again after this, not only at the next resync.
const RETRY: Duration = Duration::from_secs(1);

/// What started a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The source has a new snapshot.
    Source,
    /// The kernel told of a change, by whomever.
    Kernel(Change),
    /// Nothing did; it is time to compare.
    Resync,
    /// The last pass failed.
    Retry,
}

impl Trigger {
    /// For metrics: what was changed by somebody else, if this pass finds something to repair.
    pub(super) const fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Kernel(Change::Link { .. }) => Some("link"),
            Self::Kernel(Change::Address { .. }) => Some("address"),
            Self::Kernel(Change::Route { .. }) => Some("route"),
            Self::Kernel(Change::Neighbour { .. } | Change::Forwarding { .. }) => Some("neighbour"),
            Self::Kernel(Change::Filter { .. } | Change::Filters { .. }) => Some("filter"),
            Self::Kernel(Change::Table) => Some("nftables"),
            Self::Kernel(Change::Lost) => Some("lost_notifications"),
            Self::Resync => Some("resync"),
            Self::Source | Self::Retry => None,
        }
    }

    /// Whether everything is to be compared, also what tells of no changes.
    pub(super) const fn is_resync(&self) -> bool {
        matches!(self, Self::Resync | Self::Retry | Self::Kernel(Change::Lost))
    }

    /// Whether nothing but filters is to be looked at.
    pub(super) const fn is_of_filters(&self) -> bool {
        matches!(self, Self::Kernel(Change::Filter { .. } | Change::Filters { .. }))
    }

    /// What starts the pass if this also happened: it has to look at both.
    fn joined_by(self, change: Change) -> Self {
        let other = Self::Kernel(change);
        match &self {
            _ if other.is_of_filters() => self,
            // What the last pass has left is not what there is.
            Self::Source => other,
            // With a link go its addresses, routes and entries: the link is what happened.
            Self::Kernel(_) if matches!(other, Self::Kernel(Change::Link { .. })) => other,
            Self::Kernel(_) if self.is_of_filters() => other,
            Self::Kernel(_) | Self::Resync | Self::Retry => self,
        }
    }
}

/// What the kernel's changes are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interests {
    /// Name of the tunnel device.
    pub(super) tunnel: String,
    /// Its index, if it is there: notifications of its entries have no name.
    pub(super) tunnel_index: Option<u32>,
    /// Name of the bridge.
    pub(super) bridge: String,
    /// Indexes of the uplinks; none are known while the node's address is on no link.
    pub(super) uplinks: BTreeSet<u32>,
    /// What the last pass has made of the kernel: what becomes so needs no other.
    pub(super) desired: Arc<Desired>,
    /// The kernel's numbers of the programs that filters should be.
    pub(super) programs: Arc<BTreeSet<u32>>,
}

/// All that the kernel tells of, in the namespace of `netlink`.
pub(super) fn changes(
    netlink: &Netlink,
) -> Result<impl Stream<Item = Change> + Unpin + Send + use<>, weir_netlink::Error> {
    let network = notify::changes(netlink)?;
    let (family, name) = masquerade::TABLE_ID;
    let table = match notify::table_changes(netlink, family, name) {
        Ok(changes) => changes.left_stream(),
        Err(error) => {
            warn!(%error, "changes of nftables are found by the resync only");
            stream::empty().right_stream()
        }
    };
    Ok(stream::select(network, table))
}

/// Where triggers come from.
pub(super) struct Triggers<C> {
    published: watch::Receiver<Published>,
    changes: C,
    resync: tokio::time::Interval,
    retry: Option<Instant>,
    /// Whether the nftables table may have changed since it was last asked.
    is_table_in_doubt: bool,
    /// Links whose filters may have changed since they were last looked at.
    filters_in_doubt: BTreeSet<u32>,
    /// The nodes of the snapshot that was published last.
    nodes: Option<Arc<Nodes>>,
}

impl<C: Stream<Item = Change> + Unpin> Triggers<C> {
    pub(super) fn new(published: watch::Receiver<Published>, changes: C, resync: Duration) -> Self {
        let mut resync = interval(resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            published,
            changes,
            resync,
            retry: None,
            is_table_in_doubt: false,
            filters_in_doubt: BTreeSet::new(),
            nodes: None,
        }
    }

    /// What the source has published last.
    pub(super) fn published(&mut self) -> Published {
        let published = self.published.borrow_and_update().clone();
        self.nodes = published.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.nodes));
        published
    }

    /// Whether what was published concerns the overlay: a Service does not, and there may be
    /// hundreds of changes of Services in a second.
    fn nodes_changed(&mut self) -> bool {
        let nodes =
            self.published.borrow_and_update().snapshot.as_ref().map(|w| Arc::clone(&w.nodes));
        let changed = self.nodes != nodes;
        self.nodes = nodes;
        changed
    }

    /// Whether the last pass is to be repeated before the next resync.
    pub(super) fn retry_soon(&mut self, retry: bool) {
        self.retry = retry.then(|| Instant::now() + RETRY);
    }

    /// The resync that was just begun made way for something else; it comes in a moment.
    pub(super) fn resync_soon(&mut self) {
        self.resync.reset_after(RETRY);
    }

    /// What a resync makes way for.
    pub(super) fn right_of_way(&self) -> RightOfWay {
        RightOfWay { published: self.published.clone(), nodes: self.nodes.clone() }
    }

    /// Links whose filters somebody may have changed since this was last asked.
    pub(super) fn take_filters_in_doubt(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.filters_in_doubt)
    }

    /// Whether somebody may have changed the nftables table since this was last asked. It is no part
    /// of the trigger: whatever else a burst began with, this must not get lost in it.
    pub(super) fn take_table_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_table_in_doubt)
    }

    /// Waits for the next trigger, and for the end of the burst that it came in. A new snapshot waits for
    /// nothing, but what the kernel has told by then is heard.
    pub(super) async fn next(&mut self, interests: &Interests) -> Trigger {
        let mut trigger = self.first(interests).await;
        let deadline = Instant::now() + BURST;
        loop {
            let pause = if trigger == Trigger::Source { Duration::ZERO } else { QUIET };
            let quiet = (Instant::now() + pause).min(deadline);
            match timeout_at(quiet, self.changes.next()).await {
                Ok(Some(change)) => {
                    if self.note(&change, interests) {
                        trigger = trigger.joined_by(change);
                    }
                }
                Ok(None) | Err(_) => return trigger,
            }
            if Instant::now() >= deadline {
                return trigger;
            }
        }
    }

    async fn first(&mut self, interests: &Interests) -> Trigger {
        loop {
            let retry = self.retry.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                changed = self.published.changed() => match changed {
                    Ok(()) => if self.nodes_changed() { return Trigger::Source; },
                    // The source has ended, which it never should: go on with what is known.
                    Err(_) => {
                        self.resync.tick().await;
                        return Trigger::Resync;
                    }
                },
                Some(change) = self.changes.next() => {
                    if self.note(&change, interests) {
                        return Trigger::Kernel(change);
                    }
                }
                _ = self.resync.tick() => return Trigger::Resync,
                () = sleep_until(retry), if self.retry.is_some() => {
                    self.retry = None;
                    return Trigger::Retry;
                }
            }
        }
    }
}

impl<C> Triggers<C> {
    /// Remembers what is in doubt after a change. Tells whether it is of interest.
    fn note(&mut self, change: &Change, interests: &Interests) -> bool {
        self.is_table_in_doubt |= matches!(change, Change::Table | Change::Lost);
        let is_concern = interests.concern(change);
        if let Change::Filter { link, .. } | Change::Filters { link } = change
            && is_concern
        {
            self.filters_in_doubt.insert(*link);
        }
        is_concern
    }
}

/// Tells whether there is something that a resync should make way for.
pub(super) struct RightOfWay {
    published: watch::Receiver<Published>,
    nodes: Option<Arc<Nodes>>,
}

impl RightOfWay {
    #[cfg(test)]
    pub(super) fn of(published: watch::Receiver<Published>) -> Self {
        Self { published, nodes: None }
    }

    /// Whether the source has other nodes than those of this pass.
    pub(super) fn is_claimed(&self) -> bool {
        let published = self.published.borrow();
        published.snapshot.as_ref().map(|snapshot| &snapshot.nodes) != self.nodes.as_ref()
    }

    /// Waits until that is so.
    pub(super) async fn claimed(&mut self) {
        while !self.is_claimed() {
            if self.published.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Interests {
    /// Whether a change is about something of Weir's, or about what that depends on, and has not
    /// made it as it shall be.
    fn concern(&self, change: &Change) -> bool {
        if is_as_desired(change, &self.desired, self.tunnel_index) {
            return false;
        }
        match change {
            Change::Link { index, name } => {
                // The device is still the one that entries are on when somebody renames it.
                *name == self.tunnel
                    || self.tunnel_index == Some(*index)
                    || *name == self.bridge
                    || self.uplinks.contains(index)
            }
            // While no link has the node's address, any may get it.
            Change::Address { link } => {
                self.uplinks.is_empty()
                    || self.uplinks.contains(link)
                    || self.tunnel_index == Some(*link)
            }
            Change::Route { protocol, .. } => *protocol == ROUTE_PROTOCOL,
            Change::Neighbour { link, .. } | Change::Forwarding { link, .. } => {
                self.tunnel_index == Some(*link)
            }
            // What is attached by the plugin, or by the last pass, is as it should be.
            Change::Filter { entry: Entry::Is(filter), .. } => {
                filter.priority == PRIORITY
                    && filter.program.is_none_or(|id| !self.programs.contains(&id))
            }
            Change::Filter { entry: Entry::Gone(filter), .. } => filter.priority == PRIORITY,
            Change::Filter { entry: Entry::Other, .. } => false,
            // Perhaps of a link without any of Weir's, where nothing will be found to do.
            Change::Filters { .. } => !self.programs.is_empty(),
            // Only that of Weir's table is subscribed to.
            Change::Table | Change::Lost => true,
        }
    }
}

#[cfg(test)]
mod tests;
