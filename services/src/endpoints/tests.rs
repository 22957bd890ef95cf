use super::*;
use crate::index::tests::{Ep, ep, slice};
use weir_model::Protocol;

fn here() -> Topology {
    Topology { node: "here".into(), zone: Some("z1".into()) }
}

fn port(name: &str, protocol: Protocol) -> ServicePort {
    ServicePort { name: name.into(), protocol, port: 80 }
}

fn backends(slices: &[EndpointSlice]) -> Vec<BackendSpec> {
    let slices: BTreeMap<_, _> =
        slices.iter().map(|slice| (slice.name.clone(), Arc::new(slice.clone()))).collect();
    select_backends(&slices, &port("", Protocol::Tcp), Family::V4, &here())
}

/// The last bytes of the addresses in the cluster's set, in the local set, and of all backends.
fn sets(endpoints: &[Ep]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    sets_of(&backends(&[slice("s-1", "s", endpoints)]))
}

fn sets_of(backends: &[BackendSpec]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let last = |spec: &BackendSpec| match spec.ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    let of = |wanted: fn(&BackendSpec) -> bool| {
        backends.iter().filter(|spec| wanted(spec)).map(last).collect()
    };
    (of(|spec| spec.in_cluster_set), of(|spec| spec.in_local_set), of(|_| true))
}

#[test]
fn ready_endpoints_serve_and_those_of_this_node_are_the_local_set() {
    let all = sets(&[ep(1), ep(2).on("here"), ep(3).on("there")]);
    assert_eq!(all, (vec![1, 2, 3], vec![2], vec![1, 2, 3]));
}

#[test]
fn endpoints_that_are_not_ready_do_not_serve() {
    let all = sets(&[ep(1).unready(), ep(2).on("here").unready()]);
    assert_eq!(all, (vec![], vec![], vec![]));
}

#[test]
fn terminating_endpoints_serve_if_no_other_does_and_keep_their_flows_otherwise() {
    let all = sets(&[ep(1).terminating(), ep(2)]);
    assert_eq!(all, (vec![2], vec![], vec![1, 2]));
    let all = sets(&[ep(1).terminating(), ep(2).unready(), ep(3).terminating().unserving()]);
    assert_eq!(all, (vec![1], vec![], vec![1]));
}

#[test]
fn each_set_falls_back_on_its_own() {
    let all = sets(&[ep(1).on("there"), ep(2).on("here").terminating()]);
    assert_eq!(all, (vec![1], vec![2], vec![1, 2]));
    let all = sets(&[ep(1).on("there").terminating(), ep(2).on("here").terminating()]);
    assert_eq!(all, (vec![1, 2], vec![2], vec![1, 2]));
}

#[test]
fn a_terminating_endpoint_that_is_published_as_ready_serves() {
    // The slices of a Service with publishNotReadyAddresses have such endpoints.
    let mut published = ep(1).terminating();
    published.0.ready = true;
    assert_eq!(sets(&[published, ep(2).terminating()]).0, [1]);
}

#[test]
fn zone_hints_are_used_if_all_endpoints_have_hints_and_one_is_for_this_zone() {
    assert_eq!(sets(&[ep(1).zones(&["z1"]), ep(2).zones(&["z2"])]).0, [1]);
    assert_eq!(sets(&[ep(1).zones(&["z1", "z2"]), ep(2).zones(&["z2"])]).0, [1]);
    assert_eq!(
        sets(&[ep(1).zones(&["z2"]), ep(2).zones(&["z3"])]).0,
        [1, 2],
        "no hint is for this zone"
    );
}

#[test]
fn one_ready_endpoint_without_a_hint_turns_hints_off() {
    assert_eq!(sets(&[ep(1).zones(&["z1"]), ep(2).zones(&["z2"]), ep(3)]).0, [1, 2, 3]);
    let unready = ep(3).unready();
    assert_eq!(sets(&[ep(1).zones(&["z1"]), ep(2).zones(&["z2"]), unready]).0, [1]);
}

#[test]
fn node_hints_are_preferred_to_zone_hints() {
    let both = |last, zone, node: &str| ep(last).zones(&[zone]).nodes(&[node]);
    assert_eq!(sets(&[both(1, "z1", "there"), both(2, "z2", "here")]).0, [2]);
    let one_without = [both(1, "z2", "here"), ep(2).zones(&["z1"])];
    assert_eq!(sets(&one_without).0, [2], "zone hints are used then");
}

#[test]
fn hints_do_not_affect_the_local_set() {
    let all = sets(&[ep(1).on("here").zones(&["z2"]), ep(2).zones(&["z1"])]);
    assert_eq!(all, (vec![2], vec![1], vec![1, 2]));
}

#[test]
fn a_node_without_a_zone_ignores_zone_hints() {
    let slices = BTreeMap::from([(1, slice("s-1", "s", &[ep(1).zones(&["z1"])]).into())]);
    let topology = Topology { zone: None, ..here() };
    let backends = select_backends(&slices, &port("", Protocol::Tcp), Family::V4, &topology);
    assert_eq!(sets_of(&backends).0, [1]);
}

#[test]
fn a_later_duplicate_wins_unless_it_is_terminating() {
    let old = slice("s-1", "s", &[ep(1).unready()]);
    let new = slice("s-2", "s", &[ep(1).on("here")]);
    assert_eq!(sets_of(&backends(&[old, new])), (vec![1], vec![1], vec![1]));
    let old = slice("s-1", "s", &[ep(1).on("here")]);
    let new = slice("s-2", "s", &[ep(1).on("here").terminating()]);
    assert_eq!(sets_of(&backends(&[old, new])), (vec![1], vec![1], vec![1]));
}

#[test]
fn ports_are_found_by_name_and_protocol() {
    let mut named = slice("s-1", "s", &[ep(1)]);
    let wire =
        |name: &str, protocol, port| weir_model::SlicePort { name: name.into(), protocol, port };
    named.ports = vec![
        wire("dns", Protocol::Udp, 5353),
        wire("dns", Protocol::Tcp, 5354),
        wire("http", Protocol::Tcp, 8080),
    ];
    let slices = BTreeMap::from([(1, named.into())]);
    let ports = |name, protocol| -> Vec<u16> {
        let found = select_backends(&slices, &port(name, protocol), Family::V4, &here());
        found.iter().map(|spec| spec.port).collect()
    };
    assert_eq!(ports("dns", Protocol::Udp), [5353]);
    assert_eq!(ports("dns", Protocol::Tcp), [5354]);
    assert_eq!(ports("http", Protocol::Tcp), [8080]);
    assert_eq!(ports("http", Protocol::Udp), [0; 0]);
}

#[test]
fn each_family_has_its_own_backends() {
    let mut six = slice("s-2", "s", &[ep(7)]);
    six.endpoints[0].ip = "fd00::7".parse().unwrap();
    let slices = BTreeMap::from([(1, slice("s-1", "s", &[ep(1)]).into()), (2, six.into())]);
    let of =
        |family| sets_of(&select_backends(&slices, &port("", Protocol::Tcp), family, &here())).0;
    assert_eq!((of(Family::V4), of(Family::V6)), (vec![1], vec![7]));
}
