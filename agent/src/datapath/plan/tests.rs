use std::sync::Arc;

use super::*;
use weir_model::Node;
use weir_node::PodIdentity;

use crate::overlay::peers::tests::node;

const TUNNEL: u32 = 9;

fn own() -> Node {
    node("me", 0, &["10.0.0.0/24", "fd00::/64"], &["192.0.2.9"])
}

fn peers() -> Vec<Arc<Node>> {
    vec![
        Arc::new(node("near", 1, &["10.0.1.0/24", "fd00:1::/64"], &["192.0.2.1"])),
        Arc::new(node("far", 2, &["10.0.2.0/24"], &["198.51.100.2"])),
    ]
}

fn uplink() -> Uplink {
    let subnets = vec!["192.0.2.0/24".parse().unwrap()];
    let ip = "192.0.2.9".parse().unwrap();
    Uplink { ip, link: 2, name: "eth0".into(), mtu: 1500, subnets }
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: None,
        mac: None,
        mtu: 1450,
        is_up: true,
        is_running: true,
        controller: None,
        alias: None,
        hairpin: None,
        peer: None,
        peer_netns: None,
    }
}

fn record(name: &str, index: u32, ip: &str) -> Record {
    Record {
        host_interface: name.to_owned(),
        host_ifindex: index,
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        ips: vec![ip.parse().unwrap()],
        pod: PodIdentity::default(),
    }
}

fn planned(conf: &str, tunnel: Option<u32>) -> ClusterState {
    let conf = NetConf::parse(conf.as_bytes()).unwrap();
    let (own, peers, uplinks) = (own(), peers(), [uplink()]);
    let (overlay, _) = overlay::plan(&conf, &own, &peers, &uplinks).unwrap();
    let inputs = Inputs {
        conf: &conf,
        own: &own,
        peers: &peers,
        overlay: &overlay,
        tunnel,
        uplinks: &uplinks,
    };
    plan_cluster(&inputs)
}

fn to(desired: &ClusterState, prefix: &str) -> Destination {
    desired.destinations[&prefix.parse::<IpNetwork>().unwrap()]
}

#[test]
fn pods_of_other_nodes_are_behind_the_tunnel_and_nodes_at_the_uplink() {
    let desired = planned("{}", Some(TUNNEL));
    let near = to(&desired, "10.0.1.0/24");
    assert_eq!((near.kind, near.link, near.mtu), (RouteKind::RemotePods, TUNNEL, 1450));
    assert_eq!(near.next_hop, Some("10.0.1.0".parse().unwrap()));
    let IpAddr::V6(hop) = to(&desired, "fd00:1::/64").next_hop.unwrap() else { panic!("family") };
    assert!(hop.is_unicast_link_local());
    assert_eq!(to(&desired, "10.0.0.0/24").kind, RouteKind::LocalPods);
    // Their packets of the tunnel come in by the uplink. Those of this node do not come in.
    let node = Destination::by_stack(RouteKind::Node);
    for (ip, link) in [("192.0.2.9/32", 0), ("192.0.2.1/32", 2), ("198.51.100.2/32", 2)] {
        assert_eq!(to(&desired, ip), Destination { link, ..node }, "{ip}");
    }
    let outer = [(2, Hook::FromUplink), (2, Hook::ToUplink)];
    assert_eq!(desired.places, [&[(TUNNEL, Hook::FromOverlay)], &outer[..]].concat());
    assert_eq!(desired.vacant, [(2, Hook::FromOverlay)]);
}

#[test]
fn destinations_that_the_overlay_does_not_reach_are_left_to_the_stack() {
    let gone = planned("{}", None);
    assert_eq!(to(&gone, "10.0.1.0/24"), Destination::by_stack(RouteKind::RemotePods));
    let host_gw = r#"{"EnableIPv6": false, "Backend": {"Type": "host-gw"}}"#;
    let desired = planned(host_gw, None);
    assert_eq!(to(&desired, "10.0.2.0/24"), Destination::by_stack(RouteKind::RemotePods));
}

#[test]
fn without_a_tunnel_packets_of_pods_arrive_on_the_uplink() {
    let host_gw = r#"{"EnableIPv6": false, "Backend": {"Type": "host-gw"}}"#;
    let desired = planned(host_gw, None);
    let near = to(&desired, "10.0.1.0/24");
    assert_eq!((near.link, near.mtu), (2, 1500));
    assert_eq!(near.next_hop, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(to(&desired, "192.0.2.1/32"), Destination::by_stack(RouteKind::Node));
    let places = [Hook::FromOverlay, Hook::FromUplink, Hook::ToUplink].map(|hook| (2, hook));
    assert_eq!(desired.places, places);
    assert_eq!(desired.vacant, []);
}

#[test]
fn a_pod_has_both_programs_and_one_that_is_being_deleted_has_none() {
    let links = [link(7, "weira"), link(8, "other")];
    let records = [
        record("weira", 7, "10.0.0.2"),
        record("weirb", 6, "10.0.0.3"),
        record("weirc", 8, "10.0.0.4"),
    ];
    let desired = plan_pods(&records, &links, &[]);
    assert_eq!(desired.places, [(7, Hook::FromPod), (7, Hook::ToPod)]);
    let ips: Vec<String> = desired.endpoints.keys().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.0.0.2", "fe80::ff:fe00:1"]);
}

#[test]
fn the_pods_of_listed_namespaces_route_while_they_have_an_interface() {
    let of = |namespace: &str, index| Record {
        pod: PodIdentity { namespace: Some(namespace.to_owned()), ..PodIdentity::default() },
        ..record("a", index, "10.0.0.2")
    };
    let records = [of("vpn", 7), of("default", 8), of("vpn", 9)];
    let links = [link(7, "a"), link(8, "a"), link(9, "another")];
    let routers = |list: &[&str]| {
        let namespaces: Vec<_> = list.iter().map(|name| name.parse().unwrap()).collect();
        plan_pods(&records, &links, &namespaces).routers
    };
    assert_eq!(routers(&["vpn"]), [(7, true), (8, false)].into());
    assert_eq!(routers(&["default", "edge"]), [(7, false), (8, true)].into());
    assert_eq!(routers(&[]), [(7, false), (8, false)].into());
}
