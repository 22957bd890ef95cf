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
use weir_model::Nodes;
use weir_netlink::{
    MacAddr, Netlink,
    notify::{self, Change, Entry},
};

use super::{nodes_watch::NodesWatch, self_caused::is_as_desired};
use crate::{
    masquerade::{self, Masquerade},
    overlay::{ROUTE_PROTOCOL, plan::Desired},
};

/// Changes come in bursts: a change that follows within this time belongs to the same pass …
const QUIET: Duration = Duration::from_millis(5);
/// … but no pass waits longer than this for the burst to end.
const BURST: Duration = Duration::from_millis(50);
/// A failed pass is repeated after this time, and not only at the next resync.
const RETRY: Duration = Duration::from_secs(1);

/// What started a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The source has a new snapshot.
    Source,
    /// The kernel notified about a change.
    Kernel(Change),
    /// The resync interval has passed.
    Resync,
    /// The last pass failed.
    Retry,
}

impl Trigger {
    /// For metrics: what another program has changed, if this pass repairs something.
    pub(super) const fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Kernel(Change::Link { .. }) => Some("link"),
            Self::Kernel(Change::Address { .. }) => Some("address"),
            Self::Kernel(Change::Route { .. }) => Some("route"),
            Self::Kernel(Change::Neighbour { .. } | Change::Forwarding { .. }) => Some("neighbour"),
            Self::Kernel(Change::BridgeEntry { .. }) => Some("bridge_entry"),
            Self::Kernel(Change::Filter { .. } | Change::Filters { .. }) => Some("filter"),
            Self::Kernel(Change::Table | Change::Elements(_)) => Some("nftables"),
            Self::Kernel(Change::Lost) => Some("lost_notifications"),
            Self::Resync => Some("resync"),
            Self::Source | Self::Retry | Self::Kernel(Change::OtherTables) => None,
        }
    }

    /// Whether the pass compares everything, including state that the kernel does not notify about.
    pub(super) const fn is_resync(&self) -> bool {
        matches!(self, Self::Resync | Self::Retry | Self::Kernel(Change::Lost))
    }

    /// Whether the change concerns filters only.
    pub(super) const fn is_of_filters(&self) -> bool {
        matches!(self, Self::Kernel(Change::Filter { .. } | Change::Filters { .. }))
    }

    /// The trigger of a pass that handles this one and a change.
    fn joined_by(self, change: Change) -> Self {
        let other = Self::Kernel(change);
        match &self {
            _ if other.is_of_filters() => self,
            // The kernel is no longer as the last pass has left it.
            Self::Source => other,
            // A deleted link takes its addresses, routes and entries with it: the link is the cause.
            Self::Kernel(_) if matches!(other, Self::Kernel(Change::Link { .. })) => other,
            Self::Kernel(_) if self.is_of_filters() => other,
            Self::Kernel(_) | Self::Resync | Self::Retry => self,
        }
    }
}

/// Decides which changes of the kernel start a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interests {
    /// Name of the tunnel device.
    pub(super) tunnel: String,
    /// Its index, if it exists. Notifications about its entries do not have its name.
    pub(super) tunnel_index: Option<u32>,
    /// Name of the bridge.
    pub(super) bridge: String,
    /// The bridge's index and MAC address, if it exists.
    pub(super) bridge_entry: Option<(u32, MacAddr)>,
    /// Indexes of the uplinks; empty while no link has the node's address.
    pub(super) uplinks: BTreeSet<u32>,
    /// The state that the last pass has programmed: a change to this state needs no pass.
    pub(super) desired: Arc<Desired>,
    /// The kernel's ids of the programs that filters should run.
    pub(super) programs: Arc<BTreeSet<u32>>,
    /// The nftables table as the last pass has written it; `None` if it may be otherwise.
    pub(super) table: Option<Arc<Masquerade>>,
}

/// The kernel's notifications in the network namespace of `netlink`.
pub(super) fn changes(
    netlink: &Netlink,
) -> Result<impl Stream<Item = Change> + Unpin + Send + use<>, weir_netlink::Error> {
    let network = notify::changes(netlink)?;
    let (family, name) = masquerade::TABLE_ID;
    let table = match notify::table_changes(netlink, family, name) {
        Ok(changes) => changes.left_stream(),
        Err(error) => {
            warn!(%error, "cannot subscribe to changes of nftables: only the resync finds them");
            stream::empty().right_stream()
        }
    };
    Ok(stream::select(network, table))
}

/// The source of triggers.
pub(super) struct Triggers<C> {
    published: watch::Receiver<Published>,
    changes: C,
    resync: tokio::time::Interval,
    retry: Option<Instant>,
    /// Whether the nftables table may have changed since [`Self::take_table_changed`] was last called.
    table_may_have_changed: bool,
    /// Whether other nftables tables may have changed since they were last checked.
    firewalls_may_have_changed: bool,
    /// Links whose filters may have changed since they were last checked.
    changed_filters: BTreeSet<u32>,
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
            table_may_have_changed: false,
            firewalls_may_have_changed: false,
            changed_filters: BTreeSet::new(),
            nodes: None,
        }
    }

    /// What the source published last.
    pub(super) fn published(&mut self) -> Published {
        let published = self.published.borrow_and_update().clone();
        self.nodes = published.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.nodes));
        published
    }

    /// Whether the newest snapshot has other nodes. Other changes do not concern the overlay, and
    /// Services may change hundreds of times in a second.
    fn nodes_changed(&mut self) -> bool {
        let published = self.published.borrow_and_update();
        let nodes = published.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.nodes));
        drop(published);
        let changed = self.nodes != nodes;
        self.nodes = nodes;
        changed
    }

    /// Says whether the last pass is repeated before the next resync.
    pub(super) fn retry_soon(&mut self, retry: bool) {
        self.retry = retry.then(|| Instant::now() + RETRY);
    }

    /// Schedules the next resync soon, because the last one was preempted.
    pub(super) fn resync_soon(&mut self) {
        self.resync.reset_after(RETRY);
    }

    /// Watches for other nodes than those that were published last.
    pub(super) fn watch_nodes(&self) -> NodesWatch {
        NodesWatch::new(self.published.clone(), self.nodes.clone())
    }

    /// The links whose filters another program may have changed since the last call.
    pub(super) fn take_changed_filters(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed_filters)
    }

    /// Whether another program may have changed the nftables table since the last call. This is not
    /// part of the trigger, so that it is not lost when a burst begins with another change.
    pub(super) fn take_table_changed(&mut self) -> bool {
        std::mem::take(&mut self.table_may_have_changed)
    }

    /// Whether other nftables tables may have changed since the last call. That starts no pass.
    pub(super) fn take_firewalls_changed(&mut self) -> bool {
        std::mem::take(&mut self.firewalls_may_have_changed)
    }

    /// Waits for the next trigger and for the end of its burst. A new snapshot does not wait for
    /// further changes, but the notifications that are already queued are read.
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
                    // The source has ended, which it never should: continue with the last snapshot.
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
    /// Records what may have changed. Returns whether the change needs a pass.
    fn note(&mut self, change: &Change, interests: &Interests) -> bool {
        let is_relevant = interests.include(change);
        self.table_may_have_changed |=
            is_relevant && matches!(change, Change::Table | Change::Elements(_) | Change::Lost);
        // Who changes Weir's table may have changed others in the same transaction, as `flush ruleset` does.
        self.firewalls_may_have_changed |=
            matches!(change, Change::OtherTables | Change::Table | Change::Lost);
        if let Change::Filter { link, .. } | Change::Filters { link } = change
            && is_relevant
        {
            self.changed_filters.insert(*link);
        }
        is_relevant
    }
}

impl Interests {
    /// Whether a change concerns an object of Weir's, or an object that one depends on, and has not
    /// made it as desired.
    fn include(&self, change: &Change) -> bool {
        if is_as_desired(change, &self.desired, self.tunnel_index, self.table.as_deref()) {
            return false;
        }
        match change {
            Change::Link { index, name } => {
                // A renamed device still has its entries.
                *name == self.tunnel
                    || self.tunnel_index == Some(*index)
                    || *name == self.bridge
                    || self.uplinks.contains(index)
            }
            // While no link has the node's address, any link may get it.
            Change::Address { link } => {
                self.uplinks.is_empty()
                    || self.uplinks.contains(link)
                    || self.tunnel_index == Some(*link)
            }
            Change::Route { protocol, .. } => *protocol == ROUTE_PROTOCOL,
            Change::Neighbour { link, .. } | Change::Forwarding { link, .. } => {
                self.tunnel_index == Some(*link)
            }
            // Of the bridge's own entry. Bridges learn other addresses all the time.
            Change::BridgeEntry { bridge, mac, is_local } => {
                !is_local && self.bridge_entry == Some((*bridge, *mac))
            }
            // A program that the plugin or the last pass has attached is as desired.
            Change::Filter { entry: Entry::Is(filter), .. } => {
                filter.priority == PRIORITY
                    && filter.program.is_none_or(|id| !self.programs.contains(&id))
            }
            Change::Filter { entry: Entry::Gone(filter), .. } => filter.priority == PRIORITY,
            Change::Filter { entry: Entry::Other, .. } => false,
            // The link may have none of Weir's filters; then there is nothing to do.
            Change::Filters { .. } => !self.programs.is_empty(),
            Change::Table | Change::Elements(_) | Change::Lost => true,
            Change::OtherTables => false,
        }
    }
}

#[cfg(test)]
mod tests;
