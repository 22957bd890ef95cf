use super::*;

const POD: &str = "10.244.1.5";
const NEAR: &str = "10.244.1.6";
const FAR: &str = "10.244.2.7";
const SERVICE: &str = "10.96.0.10";
const MASQUERADE: u32 = 0x20_0000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tuple((source, from): (&str, u16), (destination, to): (&str, u16)) -> Tuple {
    Tuple {
        source: ip(source),
        source_port: Some(from),
        destination: ip(destination),
        destination_port: Some(to),
    }
}

fn around() -> Surroundings {
    let route = |prefix: &str, kind: RouteKind, ifindex, next_hop| Route {
        prefix: prefix.parse().unwrap(),
        kind: kind as u32,
        ifindex,
        next_hop: ip(next_hop),
    };
    Surroundings {
        devices: [(6, "weirnear".to_owned()), (9, "weir.1".to_owned())].into(),
        pods: [(ip(POD), (5, "shop/web".to_owned())), (ip(NEAR), (6, "shop/near".to_owned()))]
            .into(),
        routes: vec![
            route("10.244.0.0/16", RouteKind::Foreign, 0, "0.0.0.0"),
            route("10.244.1.0/24", RouteKind::LocalPods, 0, "0.0.0.0"),
            route("10.244.2.0/24", RouteKind::RemotePods, 9, "10.244.2.0"),
        ],
        programmed: Programmed::default(),
        names: Names::default(),
        masquerade_mark: MASQUERADE,
    }
}

/// What became of a packet to the Service.
fn story(action: Action, left: Tuple, mark: u32, counted: &[(Reason, u64)]) -> Story {
    let sent = tuple((POD, 20_000), (SERVICE, 80));
    let attempt = Attempt {
        action,
        mark,
        sent,
        left: Some(left),
        counted: counted.to_vec(),
        service: None,
        backend: None,
        removed: 2,
    };
    let sender = Sender { name: "shop/web".to_owned(), address: ip(POD), ifindex: 5, mac: [2; 6] };
    let destination = Destination { address: ip(SERVICE), port: 80, protocol: Protocol::TCP };
    explain(&sender, &destination, &attempt, &around())
}

#[test]
fn a_redirected_packet_goes_where_its_new_destination_is() {
    let opened = [(Reason::FlowOpened, 1)];
    let near = story(Action::Redirect, tuple((POD, 20_000), (NEAR, 8080)), 0, &opened);
    assert_eq!(near.verdict, Verdict::RedirectedToPod);
    assert_eq!((near.device.as_deref(), near.next_hop), (Some("weirnear"), None));
    let far = story(Action::Redirect, tuple((POD, 20_000), (FAR, 8080)), 0, &opened);
    assert_eq!(far.verdict, Verdict::RedirectedToNode);
    assert_eq!((far.device.as_deref(), far.next_hop), (Some("weir.1"), Some(ip("10.244.2.0"))));
    assert!(!far.counters_shared && far.reason.is_none(), "{far:?}");
}

#[test]
fn a_packet_that_comes_back_is_rejected_and_the_counter_says_why() {
    let back = tuple((SERVICE, 80), (POD, 20_000));
    let story = story(Action::Redirect, back, 0, &[(Reason::RejectedNoBackend, 1)]);
    assert_eq!(story.verdict, Verdict::Rejected);
    assert_eq!(story.reason, Some("rejected_no_backend"));
    assert!(story.explanation.contains("connection refused"), "{}", story.explanation);
    assert!(story.explanation.contains("no endpoint"), "{}", story.explanation);
}

#[test]
fn a_dropped_packet_has_a_reason_and_no_new_addresses() {
    let sent = tuple((POD, 20_000), (SERVICE, 80));
    let story = story(Action::Drop, sent, 0, &[(Reason::DroppedLocalPolicy, 1)]);
    assert_eq!((story.verdict, story.rewritten), (Verdict::Dropped, None));
    assert!(story.explanation.contains("internalTrafficPolicy"), "{}", story.explanation);
}

#[test]
fn what_others_count_meanwhile_is_told() {
    let sent = tuple((POD, 20_000), (SERVICE, 80));
    for counted in [
        vec![(Reason::DroppedFragment, 1), (Reason::DroppedLocalPolicy, 1)],
        vec![(Reason::DroppedLocalPolicy, 2)],
        vec![(Reason::FlowOpened, 1), (Reason::DroppedLocalPolicy, 1)],
    ] {
        assert!(story(Action::Drop, sent, 0, &counted).counters_shared, "{counted:?}");
    }
    assert!(story(Action::Stack, sent, 0, &[(Reason::RejectedNoPort, 1)]).counters_shared);
    assert!(!story(Action::Stack, sent, 0, &[(Reason::FlowOpened, 1)]).counters_shared);
}

#[test]
fn the_way_of_the_stack_depends_on_where_it_goes() {
    for (to, words) in [
        (NEAR, "bridges it to the pod"),
        (FAR, "another node's pods"),
        ("10.244.1.99", "no pod has that address"),
        ("203.0.113.1", "out of the cluster"),
    ] {
        let story = story(Action::Stack, tuple((POD, 20_000), (to, 8080)), 0, &[]);
        assert!(story.explanation.contains(words), "{to}: {}", story.explanation);
    }
    let hairpin = story(Action::Stack, tuple((POD, 20_000), (POD, 8080)), MASQUERADE, &[]);
    assert!(hairpin.masqueraded && hairpin.explanation.contains("its own backend"));
}
