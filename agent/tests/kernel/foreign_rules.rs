//! Foreign rules in the kernel that drop pod traffic.

use std::process::Command;

use weir_agent::{
    firewall_check::{PodTraffic, check},
    masquerade::ensure,
};

use crate::scene::{in_new_netns, nft, wanted};

fn traffic() -> PodTraffic {
    let pod_networks = wanted().pod_networks;
    PodTraffic { pod_networks, bridge: "weir0".to_owned(), overlay: Some("weir.1".to_owned()) }
}

async fn findings() -> Vec<String> {
    check(&traffic()).await.unwrap().iter().map(ToString::to_string).collect()
}

/// Runs the commands that a finding proposes.
fn follow(finding: &str) {
    let (_, commands) = finding.split_once("or run: ").unwrap();
    for command in commands.split("; ") {
        run(command);
    }
}

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

#[test]
fn a_node_without_a_firewall_has_no_findings() {
    in_new_netns(|| async {
        assert!(findings().await.is_empty());
        ensure(&wanted()).await.unwrap();
        nft("table inet foreign { chain forward { type filter hook forward priority 0; }; }");
        assert!(findings().await.is_empty());
    });
}

#[test]
fn a_dropping_nftables_chain_is_found_until_the_proposed_rules_are_added() {
    in_new_netns(|| async {
        nft("table inet guard {
            set ports { type inet_service; elements = { 80, 443 }; }
            chain forward { type filter hook forward priority 0; policy drop;
                ct state established,related counter accept
                iifname \"eth0\" tcp dport @ports accept
                meta nfproto ipv4 jump more
            }
            chain more { ip protocol icmp accept; ip saddr != 10.0.0.0/8 drop; }
        }");
        let found = findings().await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(
            "chain forward of the nftables table inet guard drops forwarded packets of the pod \
             network 10.244.0.0/16, fd00:10:244::/48: "
        ));
        follow(&found[0]);
        assert!(findings().await.is_empty());
    });
}

#[test]
fn a_last_rule_that_rejects_is_found_and_devices_in_a_set_are_evaluated() {
    in_new_netns(|| async {
        nft("table inet firewalld {
            chain forward { type filter hook forward priority 10;
                ct state established accept
                jump zones
                reject with icmpx admin-prohibited
            }
            chain zones { }
        }");
        assert_eq!(findings().await.len(), 1);
        nft("add rule inet firewalld zones iifname { weir0, lo } accept");
        assert_eq!(findings().await.len(), 1, "what arrives for a pod is still rejected");
        nft("add rule inet firewalld zones oifname \"weir*\" counter log accept");
        assert!(findings().await.is_empty());
    });
}

#[test]
fn the_policies_of_all_variants_of_iptables_are_found() {
    in_new_netns(|| async {
        for program in ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"] {
            run(&format!("{program} -P FORWARD DROP"));
            run(&format!("{program} -A FORWARD -m comment --comment x -i docker0 -j ACCEPT"));
        }
        let found = findings().await;
        let chains: Vec<_> =
            found.iter().map(|text| text.split(" drops").next().unwrap()).collect();
        assert_eq!(
            chains,
            [
                "chain FORWARD of ip6tables (nftables)",
                "chain FORWARD of ip6tables-legacy",
                "chain FORWARD of iptables (nftables)",
                "chain FORWARD of iptables-legacy",
            ]
        );
        found.iter().for_each(|finding| follow(finding));
        assert!(findings().await.is_empty());
    });
}

#[test]
fn the_check_creates_no_table() {
    in_new_netns(|| async {
        assert!(findings().await.is_empty());
        let tables = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        assert_eq!(tables.unwrap_or_default(), "");
        assert_eq!(nft("list ruleset"), "");
    });
}
