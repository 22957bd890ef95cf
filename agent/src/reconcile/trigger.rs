//! What starts a pass.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};
use tracing::warn;
use weir_netlink::{
    Netlink,
    notify::{self, Change},
};

use super::echo::is_as_desired;
use crate::{
    masquerade,
    model::Nodes,
    overlay::{ROUTE_PROTOCOL, plan::Desired},
    source::Published,
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
    /// The source has a new world.
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
            Self::Kernel(Change::Table) => Some("nftables"),
            Self::Kernel(Change::Lost) => Some("lost_notifications"),
            Self::Resync => Some("resync"),
            Self::Source | Self::Retry => None,
        }
    }

    const fn is_by_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Whether everything is to be compared, also what tells of no changes.
    pub(super) const fn is_resync(&self) -> bool {
        matches!(self, Self::Resync | Self::Retry)
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
    /// The nodes of the world that was published last.
    nodes: Option<Arc<Nodes>>,
}

impl<C: Stream<Item = Change> + Unpin> Triggers<C> {
    pub(super) fn new(published: watch::Receiver<Published>, changes: C, resync: Duration) -> Self {
        let mut resync = interval(resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { published, changes, resync, retry: None, is_table_in_doubt: false, nodes: None }
    }

    /// What the source has published last.
    pub(super) fn published(&mut self) -> Published {
        self.published.borrow_and_update().clone()
    }

    /// Whether what was published concerns the overlay: a Service does not, and there may be
    /// hundreds of changes of Services in a second.
    fn nodes_changed(&mut self) -> bool {
        let nodes = self.published.borrow_and_update().world.as_ref().map(|w| Arc::clone(&w.nodes));
        let changed = self.nodes != nodes;
        self.nodes = nodes;
        changed
    }

    /// Whether the last pass is to be repeated before the next resync.
    pub(super) fn retry_soon(&mut self, retry: bool) {
        self.retry = retry.then(|| Instant::now() + RETRY);
    }

    /// Whether somebody may have changed the nftables table since this was last asked. It is no part
    /// of the trigger: whatever else a burst began with, this must not get lost in it.
    pub(super) fn take_table_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_table_in_doubt)
    }

    /// Waits for the next trigger, and for the end of the burst that it came in.
    pub(super) async fn next(&mut self, interests: &Interests) -> Trigger {
        let mut trigger = self.first(interests).await;
        let deadline = Instant::now() + BURST;
        loop {
            let quiet = (Instant::now() + QUIET).min(deadline);
            match timeout_at(quiet, self.changes.next()).await {
                // With a link go its addresses, routes and entries: the link is what happened.
                Ok(Some(change)) => {
                    self.note(&change);
                    let is_link = matches!(change, Change::Link { .. });
                    if is_link && trigger.is_by_kernel() && interests.concern(&change) {
                        trigger = Trigger::Kernel(change);
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
                    self.note(&change);
                    if interests.concern(&change) {
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
    fn note(&mut self, change: &Change) {
        self.is_table_in_doubt |= matches!(change, Change::Table | Change::Lost);
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
                *name == self.tunnel || *name == self.bridge || self.uplinks.contains(index)
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
            // Only that of Weir's table is subscribed to.
            Change::Table | Change::Lost => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_netlink::notify::Entry;

    use super::*;
    use crate::model::{ObjectName, Service, TrafficPolicy, World};
    use crate::overlay::peers::tests::node;

    const TUNNEL: u32 = 9;
    const UPLINK: u32 = 2;

    fn interests() -> Interests {
        Interests {
            tunnel: "weir.1".to_owned(),
            tunnel_index: Some(TUNNEL),
            bridge: "weir0".to_owned(),
            uplinks: BTreeSet::from([UPLINK]),
            desired: Arc::default(),
        }
    }

    fn neighbour(link: u32) -> Change {
        Change::Neighbour { link, ip: None, mac: None }
    }

    fn route(protocol: u8) -> Change {
        Change::Route { protocol, entry: Entry::Other }
    }

    fn link(index: u32, name: &str) -> Change {
        Change::Link { index, name: name.to_owned() }
    }

    /// The trigger that these changes lead to, with a resync that never comes.
    async fn first_of(changes: Vec<Change>) -> Trigger {
        let (_publisher, mut triggers) = triggers(changes);
        triggers.next(&interests()).await
    }

    /// The source ends with its publisher, which would be a trigger.
    fn triggers(
        changes: Vec<Change>,
    ) -> (watch::Sender<Published>, Triggers<impl Stream<Item = Change> + Unpin>) {
        let (publisher, mut published) = watch::channel(Published::default());
        let changes = stream::iter(changes).chain(stream::pending());
        published.mark_unchanged();
        let mut triggers = Triggers::new(published, changes, Duration::from_secs(3600));
        // An interval ticks at once, for the pass at start.
        triggers.resync.reset();
        (publisher, triggers)
    }

    #[tokio::test]
    async fn what_happens_to_pods_starts_no_pass() {
        let quiet =
            [link(40, "weir0a1b2c3d4e5"), Change::Address { link: 40 }, neighbour(40), route(2)];
        let wanted = route(ROUTE_PROTOCOL);
        let trigger = first_of(quiet.into_iter().chain([wanted.clone()]).collect()).await;
        assert_eq!(trigger, Trigger::Kernel(wanted));
    }

    #[tokio::test]
    async fn each_thing_of_weirs_starts_a_pass() {
        for change in [
            link(TUNNEL, "weir.1"),
            link(7, "weir0"),
            link(UPLINK, "eth0"),
            Change::Address { link: UPLINK },
            route(ROUTE_PROTOCOL),
            neighbour(TUNNEL),
            Change::Table,
            Change::Lost,
        ] {
            assert_eq!(first_of(vec![change.clone()]).await, Trigger::Kernel(change));
        }
    }

    #[tokio::test]
    async fn a_change_of_the_table_is_not_lost_in_a_burst_of_others() {
        let went = link(TUNNEL, "weir.1");
        for change in [Change::Table, Change::Lost] {
            let (_publisher, mut triggers) = triggers(vec![went.clone(), change]);
            assert_eq!(triggers.next(&interests()).await, Trigger::Kernel(went.clone()));
            assert!(triggers.take_table_doubt());
            assert!(!triggers.take_table_doubt(), "one look is enough");
        }
    }

    #[test]
    fn while_no_link_has_the_address_any_may_get_it() {
        let elsewhere = Change::Address { link: 40 };
        assert!(!interests().concern(&elsewhere));
        assert!(Interests { uplinks: BTreeSet::new(), ..interests() }.concern(&elsewhere));
    }

    #[tokio::test]
    async fn a_world_with_other_services_starts_no_pass_and_one_with_other_nodes_does() {
        let world = |services: &[&str], nodes: &[&str]| {
            let mut world = World::default();
            for name in services {
                let name = ObjectName::new("ns", *name);
                let service = Service {
                    name: name.clone(),
                    created: None,
                    cluster_ips: Vec::new(),
                    ports: Vec::new(),
                    internal_policy: TrafficPolicy::Cluster,
                    external_policy: TrafficPolicy::Cluster,
                    affinity_seconds: None,
                };
                world.services.insert(name, service.into());
            }
            let nodes = nodes.iter().map(|name| Arc::new(node(name, 0, &[], &[])));
            world.nodes = Arc::new(nodes.map(|node| (node.uid.clone(), node)).collect());
            Published { world: Some(world.into()), ..Published::default() }
        };
        let (publisher, published) = watch::channel(Published::default());
        let mut triggers = Triggers::new(published, stream::pending(), Duration::from_secs(3600));
        triggers.resync.reset();
        publisher.send_replace(world(&[], &["a"]));
        assert_eq!(triggers.next(&interests()).await, Trigger::Source);
        publisher.send_replace(world(&["s"], &["a"]));
        let none = timeout_at(Instant::now() + Duration::from_millis(50), async {
            triggers.next(&interests()).await
        });
        assert!(none.await.is_err());
        publisher.send_replace(world(&["s"], &["a", "b"]));
        assert_eq!(triggers.next(&interests()).await, Trigger::Source);
    }

    #[tokio::test]
    async fn a_link_that_went_with_all_that_was_on_it_is_one_change() {
        let went = link(TUNNEL, "weir.1");
        let route = route(ROUTE_PROTOCOL);
        let trigger = first_of(vec![route.clone(), went.clone(), route]).await;
        assert_eq!(trigger, Trigger::Kernel(went));
    }
}
