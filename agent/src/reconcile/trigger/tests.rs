//! Which changes start a pass.

use weir_model::{ObjectName, Service, Snapshot, TrafficPolicy};
use weir_netlink::notify::Filter;

use super::*;
use crate::overlay::peers::tests::node;

const TUNNEL: u32 = 9;
const UPLINK: u32 = 2;
const PROGRAM: u32 = 70;
const BRIDGE: u32 = 3;
const MAC: MacAddr = MacAddr::new([0x0a, 0x58, 10, 244, 1, 1]);

fn interests() -> Interests {
    Interests {
        tunnel: "weir.1".to_owned(),
        tunnel_index: Some(TUNNEL),
        bridge: "weir0".to_owned(),
        bridge_entry: Some((BRIDGE, MAC)),
        uplinks: BTreeSet::from([UPLINK]),
        desired: Arc::default(),
        programs: Arc::new([PROGRAM].into()),
        table: None,
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

/// The publisher is returned too: if it were dropped, the source would end, which is a trigger.
fn triggers(
    changes: Vec<Change>,
) -> (watch::Sender<Published>, Triggers<impl Stream<Item = Change> + Unpin>) {
    let (publisher, mut published) = watch::channel(Published::default());
    let changes = stream::iter(changes).chain(stream::pending());
    published.mark_unchanged();
    let mut triggers = Triggers::new(published, changes, Duration::from_secs(3600));
    // An interval ticks at once, for the first pass.
    triggers.resync.reset();
    (publisher, triggers)
}

#[tokio::test]
async fn a_change_of_a_pod_starts_no_pass() {
    let quiet =
        [link(40, "weir0a1b2c3d4e5"), Change::Address { link: 40 }, neighbour(40), route(2)];
    let wanted = route(ROUTE_PROTOCOL);
    let trigger = first_of(quiet.into_iter().chain([wanted.clone()]).collect()).await;
    assert_eq!(trigger, Trigger::Kernel(wanted));
}

#[tokio::test]
async fn a_change_of_each_object_of_weir_starts_a_pass() {
    for change in [
        link(TUNNEL, "weir.1"),
        link(TUNNEL, "renamed"),
        link(7, "weir0"),
        link(UPLINK, "eth0"),
        Change::Address { link: UPLINK },
        route(ROUTE_PROTOCOL),
        neighbour(TUNNEL),
        Change::Table,
        Change::Elements(Vec::new()),
        Change::Lost,
    ] {
        assert_eq!(first_of(vec![change.clone()]).await, Trigger::Kernel(change));
    }
}

#[tokio::test]
async fn a_change_of_the_table_is_not_lost_in_a_burst_of_other_changes() {
    let went = link(TUNNEL, "weir.1");
    for change in [Change::Table, Change::Lost] {
        let (_publisher, mut triggers) = triggers(vec![went.clone(), change]);
        assert_eq!(triggers.next(&interests()).await, Trigger::Kernel(went.clone()));
        assert!(triggers.take_table_changed());
        assert!(!triggers.take_table_changed(), "one check is enough");
    }
}

#[test]
fn while_no_link_has_the_nodes_address_any_link_may_get_it() {
    let elsewhere = Change::Address { link: 40 };
    assert!(!interests().include(&elsewhere));
    assert!(Interests { uplinks: BTreeSet::new(), ..interests() }.include(&elsewhere));
}

#[test]
fn of_the_bridges_entries_only_the_loss_of_its_own_one_starts_a_pass() {
    let entry = |bridge, mac, is_local| Change::BridgeEntry { bridge, mac, is_local };
    assert!(interests().include(&entry(BRIDGE, MAC, false)));
    let of_pod = MacAddr::new([0x0a, 0x58, 10, 244, 1, 2]);
    for quiet in [entry(BRIDGE, MAC, true), entry(BRIDGE, of_pod, false), entry(4, MAC, false)] {
        assert!(!interests().include(&quiet), "{quiet:?}");
    }
}

#[tokio::test]
async fn a_snapshot_with_other_services_starts_no_pass_and_one_with_other_nodes_does() {
    let snapshot = |services: &[&str], nodes: &[&str]| {
        let mut snapshot = Snapshot::default();
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
            snapshot.services.insert(name, service.into());
        }
        let nodes = nodes.iter().map(|name| Arc::new(node(name, 0, &[], &[])));
        snapshot.nodes = Arc::new(nodes.map(|node| (node.uid.clone(), node)).collect());
        Published { snapshot: Some(snapshot.into()), ..Published::default() }
    };
    let (publisher, published) = watch::channel(Published::default());
    let mut triggers = Triggers::new(published, stream::pending(), Duration::from_secs(3600));
    triggers.resync.reset();
    publisher.send_replace(snapshot(&[], &["a"]));
    assert_eq!(triggers.next(&interests()).await, Trigger::Source);
    publisher.send_replace(snapshot(&["s"], &["a"]));
    let none = timeout_at(Instant::now() + Duration::from_millis(50), async {
        triggers.next(&interests()).await
    });
    assert!(none.await.is_err());
    publisher.send_replace(snapshot(&["s"], &["a", "b"]));
    assert_eq!(triggers.next(&interests()).await, Trigger::Source);
}

#[tokio::test]
async fn a_deleted_link_with_its_entries_is_one_change() {
    let went = link(TUNNEL, "weir.1");
    let route = route(ROUTE_PROTOCOL);
    let trigger = first_of(vec![route.clone(), went.clone(), route]).await;
    assert_eq!(trigger, Trigger::Kernel(went));
}

fn filter(link: u32, priority: u16, program: u32, wrap: fn(Filter) -> Entry<Filter>) -> Change {
    Change::Filter { link, entry: wrap(Filter { priority, program: Some(program) }) }
}

#[tokio::test]
async fn a_filter_of_weir_that_is_removed_or_replaced_is_checked_and_no_other() {
    let quiet = [
        filter(1, PRIORITY, PROGRAM, Entry::Is),
        filter(2, PRIORITY + 1, PROGRAM, Entry::Gone),
        filter(3, PRIORITY + 1, PROGRAM + 1, Entry::Is),
    ];
    let loud = [
        filter(4, PRIORITY, PROGRAM, Entry::Gone),
        filter(5, PRIORITY, PROGRAM + 1, Entry::Is),
        Change::Filters { link: 6 },
    ];
    let (_publisher, mut triggers) = triggers(quiet.into_iter().chain(loud.clone()).collect());
    let trigger = triggers.next(&interests()).await;
    assert!(trigger.is_of_filters() && !trigger.is_resync());
    assert_eq!(triggers.take_changed_filters(), [4, 5, 6].into());
    assert!(triggers.take_changed_filters().is_empty(), "one check is enough");
}

#[tokio::test]
async fn a_change_of_filters_does_not_hide_other_changes() {
    let filter = Change::Filters { link: 6 };
    for changes in [[filter.clone(), route(ROUTE_PROTOCOL)], [route(ROUTE_PROTOCOL), filter]] {
        let (_publisher, mut triggers) = triggers(changes.to_vec());
        let trigger = triggers.next(&interests()).await;
        assert_eq!(trigger, Trigger::Kernel(route(ROUTE_PROTOCOL)));
        assert_eq!(triggers.take_changed_filters(), [6].into());
    }
}

#[tokio::test]
async fn a_change_in_the_kernel_during_a_new_snapshot_is_not_lost() {
    let (publisher, mut triggers) = triggers(vec![]);
    let nodes = [Arc::new(node("a", 0, &[], &[]))].map(|node| (node.uid.clone(), node));
    let snapshot = Snapshot { nodes: Arc::new(nodes.into()), ..Snapshot::default() };
    let nodes = triggers.watch_nodes();
    assert!(!nodes.has_changed());
    publisher.send_replace(Published { snapshot: Some(snapshot.into()), ..Published::default() });
    assert!(nodes.has_changed(), "it preempts a resync");
    assert_eq!(triggers.next(&interests()).await, Trigger::Source);
    assert!(!triggers.watch_nodes().has_changed(), "the trigger is for these nodes");
    let joined = Trigger::Source.joined_by(route(ROUTE_PROTOCOL));
    assert_eq!(joined, Trigger::Kernel(route(ROUTE_PROTOCOL)));
}
