use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::*;
use crate::masquerade::Marks;

fn networks(texts: &[&str]) -> Vec<IpNetwork> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn tunnel(local: &str, peers: &[&str]) -> TunnelEnd {
    TunnelEnd {
        port: 8472,
        local: local.parse().unwrap(),
        peers: Arc::new(peers.iter().map(|peer| peer.parse().unwrap()).collect()),
    }
}

fn dual_stack() -> Masquerade {
    Masquerade {
        local_pod_cidrs: networks(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
        pod_networks: networks(&["10.244.0.0/16", "fd00:10:244::/56"]),
        direct_nodes: Vec::new(),
        no_masquerade_cidrs: networks(&["192.168.0.0/16"]),
        ip_masq: true,
        tunnel: Some(tunnel("172.16.0.1", &["172.16.0.2"])),
        bridge: "weir0".to_owned(),
        marks: None,
    }
}

fn marked() -> Masquerade {
    let marks = Marks { masquerade: 0x0020_0000, reply: 0x0040_0000, reject: 0x0080_0000 };
    Masquerade { marks: Some(marks), ..dual_stack() }
}

fn objects(wanted: &Masquerade) -> Vec<Value> {
    let batch = serde_json::to_value(ruleset(wanted)).unwrap();
    batch["nftables"].as_array().unwrap().clone()
}

fn rules(wanted: &Masquerade) -> Vec<Value> {
    objects(wanted).iter().filter_map(|object| object.pointer("/add/rule")).cloned().collect()
}

/// The base chains, as hook and name.
fn chains(wanted: &Masquerade) -> Vec<String> {
    let objects = objects(wanted);
    let chains = objects.iter().filter_map(|object| object.pointer("/add/chain"));
    let at_hook = chains.filter_map(|chain| {
        Some(format!("{} {}", chain.get("hook")?.as_str()?, chain.get("name")?.as_str()?))
    });
    at_hook.collect()
}

fn rules_of(wanted: &Masquerade, chain: &str) -> Vec<String> {
    let rules = rules(wanted).into_iter().filter(|rule| rule["chain"] == chain);
    rules.map(|rule| rule["expr"].to_string()).collect()
}

fn elements(wanted: &Masquerade, name: &str) -> Value {
    let objects = objects(wanted);
    let mut sets = objects.iter().filter_map(|object| object.pointer("/add/set"));
    let set = sets.find(|set| set["name"] == name).unwrap();
    set.get("elem").cloned().unwrap_or_default()
}

#[test]
fn the_number_of_rules_does_not_depend_on_the_number_of_nodes() {
    let few = dual_stack();
    let mut many = dual_stack();
    for node in 0..250 {
        many.pod_networks.push(format!("10.7.{node}.0/25").parse().unwrap());
        many.direct_nodes.push(format!("172.16.0.{node}").parse().unwrap());
        many.no_masquerade_cidrs.push(format!("198.51.{node}.0/28").parse().unwrap());
    }
    let peers: BTreeSet<IpAddr> = (0..250).map(|host| IpAddr::from([172, 16, 1, host])).collect();
    let many = many.with_peers(Arc::new(peers));
    assert_eq!(rules(&few), rules(&many));
    assert_eq!(elements(&many, "peers_ipv4").as_array().unwrap().len(), 250);
    assert_eq!(elements(&many, "cluster_ipv4").as_array().unwrap().len(), 251);
}

#[test]
fn the_table_is_replaced_as_a_whole() {
    let objects = objects(&dual_stack());
    assert!(objects[0].pointer("/add/table").is_some());
    assert!(objects[1].pointer("/delete/table").is_some());
    assert!(objects[2].pointer("/add/table").is_some());
    assert!(objects[3..].iter().all(|object| object.get("delete").is_none()));
}

#[test]
fn a_marked_reply_is_never_masqueraded() {
    let postrouting = rules_of(&marked(), "postrouting");
    assert_eq!(postrouting.len(), 4);
    assert!(postrouting[0].contains(r#"{"return":null}"#));
    assert!(postrouting[1..].iter().all(|rule| rule.contains("fully-random")));
}

#[test]
fn without_ip_masq_only_marked_packets_are_masqueraded() {
    let off = Masquerade { ip_masq: false, ..marked() };
    let text = serde_json::to_string(&ruleset(&off)).unwrap();
    assert!(!text.contains("@local_ipv4"));
    assert_eq!(rules(&off).len(), rules(&marked()).len() - 2);
}

#[test]
fn without_marks_no_rule_compares_marks() {
    assert_eq!(
        chains(&dual_stack()),
        [
            "postrouting postrouting",
            "prerouting prerouting",
            "input input",
            "postrouting to_peers",
            "output output"
        ]
    );
    let text = serde_json::to_string(&ruleset(&dual_stack())).unwrap();
    assert!(!text.contains("mark") && !text.contains("reject"), "{text}");
    let host_gw = Masquerade { tunnel: None, ..dual_stack() };
    assert_eq!(chains(&host_gw), ["postrouting postrouting"]);
}

#[test]
fn with_marks_no_more_chains_and_two_more_rules_are_passed() {
    assert_eq!(chains(&marked()), chains(&dual_stack()));
    for (chain, more) in [("prerouting", 2), ("output", 0), ("input", 0)] {
        let (with, without) = (rules_of(&marked(), chain), rules_of(&dual_stack(), chain));
        assert_eq!(with.len(), without.len() + more, "{chain}");
    }
    let rules = rules_of(&marked(), "prerouting");
    let [admitted, rejected, to_tunnel] = &rules[..] else { panic!("{rules:?}") };
    assert!(admitted.contains("12582912") && admitted.contains("notrack"), "{admitted}");
    assert!(rejected.contains("rejected"), "before anything else: {rejected}");
    assert!(to_tunnel.contains("to_tunnel"), "{to_tunnel}");
}

#[test]
fn marks_are_cleared_with_the_first_packet_of_a_flow() {
    for rule in &rules_of(&marked(), "postrouting")[..2] {
        assert!(rule.find("mangle").is_some_and(|at| at > 0), "{rule}");
    }
}

#[test]
fn without_a_tunnel_conntrack_sees_everything() {
    let host_gw = Masquerade { tunnel: None, ..marked() };
    let text = serde_json::to_string(&ruleset(&host_gw)).unwrap();
    assert!(!text.contains("notrack") && !text.contains("8472") && !text.contains("peers"));
    assert!(serde_json::to_string(&ruleset(&marked())).unwrap().contains("notrack"));
}

#[test]
fn a_packet_other_than_udp_is_compared_only_once() {
    for local in ["172.16.0.1", "2001:db8::1"] {
        let tunnel = Some(tunnel(local, &[]));
        for chain in ["prerouting", "input", "to_peers"] {
            let rules = rules_of(&Masquerade { tunnel: tunnel.clone(), ..dual_stack() }, chain);
            assert_eq!(rules.len(), 1, "{local}");
            let other = rules[0].find("goto").or_else(|| rules[0].find("drop"));
            assert!(rules[0].find("udp").unwrap() < other.unwrap());
        }
    }
}

#[test]
fn the_tunnels_port_is_open_to_peers_of_its_family_only() {
    for (local, protocol) in [("172.16.0.1", "ip"), ("2001:db8::1", "ip6")] {
        let end = Masquerade { tunnel: Some(tunnel(local, &[])), ..dual_stack() };
        let family = if protocol == "ip" { "ipv4" } else { "ipv6" };
        let rules = rules_of(&end, "to_tunnel");
        let [from_pods, accepted, from_others, forwarded] = &rules[..] else { panic!("{rules:?}") };
        assert!(from_pods.contains("weir0") && from_pods.contains("goto"), "{from_pods}");
        let parts = [local, &format!("@peers_{family}"), "accept"];
        assert!(parts.iter().all(|part| accepted.contains(part)), "{accepted}");
        let of_pods = rules_of(&end, "from_pods");
        assert!(of_pods.iter().chain([from_others, forwarded]).all(|rule| rule.contains("drop")));
        let input = rules_of(&end, "input");
        for rule in [&input[0], from_others, &of_pods[1]] {
            assert!(rule.contains(&format!("\"right\":\"{family}\"")), "{rule}");
        }
        // An empty set matches nothing.
        assert_eq!(elements(&end, &format!("peers_{family}")), Value::Null);
    }
}

#[test]
fn the_nodes_own_subnet_always_belongs_to_the_cluster() {
    let alone = Masquerade { pod_networks: Vec::new(), ..dual_stack() };
    assert_eq!(
        elements(&alone, "cluster_ipv4"),
        serde_json::json!([{"prefix": {"addr": "10.244.1.0", "len": 24}}])
    );
}

#[test]
fn nodes_that_are_reached_directly_are_exempt_by_address() {
    let ips = ["172.16.0.1", "2001:db8::1"];
    let direct_nodes = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    let host_gw = Masquerade { direct_nodes, ..dual_stack() };
    assert!(elements(&host_gw, "exempt_ipv4").as_array().unwrap().contains(&ips[0].into()));
    assert!(elements(&host_gw, "exempt_ipv6").as_array().unwrap().contains(&ips[1].into()));
}
