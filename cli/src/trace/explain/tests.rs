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

fn node() -> Node {
    let route = |prefix: &str, kind: RouteKind, ifindex, next_hop| Route {
        prefix: prefix.parse().unwrap(),
        kind: kind as u32,
        ifindex,
        next_hop: ip(next_hop),
    };
    Node {
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

/// The trace of a packet to the Service.
fn trace(action: Action, left: Tuple, mark: u32, counted: &[(Reason, u64)]) -> Trace {
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
    explain(&sender, &destination, &attempt, &node())
}

#[test]
fn a_redirected_packet_goes_to_its_new_destination() {
    let opened = [(Reason::FlowOpened, 1)];
    let near = trace(Action::Redirect, tuple((POD, 20_000), (NEAR, 8080)), 0, &opened);
    assert_eq!(near.verdict, Verdict::RedirectedToPod);
    assert_eq!((near.device.as_deref(), near.next_hop), (Some("weirnear"), None));
    let far = trace(Action::Redirect, tuple((POD, 20_000), (FAR, 8080)), 0, &opened);
    assert_eq!(far.verdict, Verdict::RedirectedToNode);
    assert_eq!((far.device.as_deref(), far.next_hop), (Some("weir.1"), Some(ip("10.244.2.0"))));
    assert!(!far.counters_shared && far.reason.is_none(), "{far:?}");
}

#[test]
fn a_packet_that_comes_back_is_rejected_and_the_counter_says_why() {
    let back = tuple((SERVICE, 80), (POD, 20_000));
    let trace = trace(Action::Redirect, back, 0, &[(Reason::RejectedNoBackend, 1)]);
    assert_eq!(trace.verdict, Verdict::Rejected);
    assert_eq!(trace.reason, Some("rejected_no_backend"));
    assert!(trace.explanation.contains("connection refused"), "{}", trace.explanation);
    assert!(trace.explanation.contains("no endpoint"), "{}", trace.explanation);
}

#[test]
fn a_dropped_packet_has_a_reason_and_no_new_addresses() {
    let sent = tuple((POD, 20_000), (SERVICE, 80));
    let trace = trace(Action::Drop, sent, 0, &[(Reason::DroppedLocalPolicy, 1)]);
    assert_eq!((trace.verdict, trace.rewritten), (Verdict::Dropped, None));
    assert!(trace.explanation.contains("internalTrafficPolicy"), "{}", trace.explanation);
}

#[test]
fn packets_of_others_are_reported() {
    let sent = tuple((POD, 20_000), (SERVICE, 80));
    for counted in [
        vec![(Reason::DroppedFragment, 1), (Reason::DroppedLocalPolicy, 1)],
        vec![(Reason::DroppedLocalPolicy, 2)],
        vec![(Reason::FlowOpened, 1), (Reason::DroppedLocalPolicy, 1)],
    ] {
        assert!(trace(Action::Drop, sent, 0, &counted).counters_shared, "{counted:?}");
    }
    assert!(trace(Action::Stack, sent, 0, &[(Reason::RejectedNoPort, 1)]).counters_shared);
    assert!(!trace(Action::Stack, sent, 0, &[(Reason::FlowOpened, 1)]).counters_shared);
}

#[test]
fn the_description_of_the_stack_depends_on_the_destination() {
    for (to, words) in [
        (NEAR, "bridges it to the pod"),
        (FAR, "another node's pods"),
        ("10.244.1.99", "no pod has that address"),
        ("203.0.113.1", "out of the cluster"),
    ] {
        let trace = trace(Action::Stack, tuple((POD, 20_000), (to, 8080)), 0, &[]);
        assert!(trace.explanation.contains(words), "{to}: {}", trace.explanation);
    }
    let hairpin = trace(Action::Stack, tuple((POD, 20_000), (POD, 8080)), MASQUERADE, &[]);
    assert!(hairpin.masqueraded && hairpin.explanation.contains("its own backend"));
}
