use serde_json::json;

use super::{nftables::foreign_tables, *};

fn traffic() -> PodTraffic {
    PodTraffic {
        pod_networks: vec!["10.244.0.0/16".parse().unwrap()],
        bridge: "weir0".to_owned(),
        overlay: Some("weir.1".to_owned()),
    }
}

fn legacy(listing: &str) -> Option<Finding> {
    legacy::finding(&legacy::FAMILIES[0], listing, &traffic())
}

const DOCKER: &str = "\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER-USER
-N OTHERS
-A FORWARD -j DOCKER-USER
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD ! -s 192.0.2.0/24 -j ACCEPT
-A FORWARD -p tcp -m comment --comment \"let -j ACCEPT\" -j ACCEPT
-A FORWARD -j LOG --log-prefix \"lost: \"
-A OTHERS -j ACCEPT
";

#[test]
fn a_dropping_policy_is_found_until_the_proposed_rules_are_added() {
    let finding = legacy(DOCKER).unwrap();
    assert_eq!(
        finding.to_string(),
        "chain FORWARD of iptables-legacy drops forwarded packets of the pod network \
         10.244.0.0/16: let its owner accept them, or run: iptables-legacy -I FORWARD -s \
         10.244.0.0/16 -j ACCEPT; iptables-legacy -I FORWARD -d 10.244.0.0/16 -j ACCEPT"
    );
    for rules in [
        "-A FORWARD -s 10.244.0.0/16 -j ACCEPT",
        "-A FORWARD -d 10.0.0.0/8 -m comment --comment \"the pods\" -j ACCEPT",
        "-A DOCKER-USER -i weir0 -j ACCEPT\n-A DOCKER-USER -o weir+ -j ACCEPT",
        "-A FORWARD -d 10.244.0.0/16 -g OTHERS",
    ] {
        assert_eq!(legacy(&format!("{DOCKER}{rules}\n")), None, "{rules}");
    }
}

#[test]
fn rules_that_accept_one_direction_or_some_pods_are_not_enough() {
    for rules in [
        "-A FORWARD -i weir0 -j ACCEPT",
        "-A FORWARD -s 10.244.1.0/24 -j ACCEPT",
        "-A FORWARD -s 10.244.0.0/16 -p tcp -j ACCEPT",
        "-A DOCKER-USER -j RETURN\n-A DOCKER-USER -j ACCEPT",
    ] {
        assert!(legacy(&format!("{DOCKER}{rules}\n")).is_some(), "{rules}");
    }
}

#[test]
fn an_accepting_policy_is_a_finding_only_if_a_rule_drops() {
    assert_eq!(legacy("-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j DROP\n"), None);
    assert!(legacy("-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with x\n").is_some());
    assert_eq!(legacy(""), None);
}

#[test]
fn only_foreign_chains_at_the_forward_hook_are_checked() {
    let chain = |family: &str, table: &str, name: &str, hook: &str| json!({"chain": {"family": family, "table": table, "name": name, "hook": hook}});
    let listing = json!({"nftables": [
        {"metainfo": {}},
        chain("inet", "weir", "reject_forward", "forward"),
        chain("bridge", "b", "forward", "forward"),
        chain("ip", "filter", "INPUT", "input"),
        chain("ip", "filter", "FORWARD", "forward"),
        chain("inet", "firewalld", "one", "forward"),
        chain("inet", "firewalld", "two", "forward"),
        {"chain": {"family": "inet", "table": "firewalld", "name": "not_a_base_chain"}},
    ]});
    let tables = foreign_tables(&listing);
    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["filter", "firewalld"]);
}

#[test]
fn chains_that_jump_to_each_other_end() {
    let circle = "-P FORWARD DROP\n-N A\n-N B\n-A A -j B\n-A B -j A\n-A FORWARD -j A\n";
    assert!(legacy(circle).is_some());
}
