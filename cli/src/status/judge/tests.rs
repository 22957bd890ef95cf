use weir_datapath::AtSockets;
use weir_node::EndpointRecord;

use super::super::facts::{Attachment, MtuFacts, Waiting};
use super::*;
use crate::leftovers::Leftover;

const VERSION: &str = "1.0.0";

/// A healthy node with Services and a pod.
fn node() -> Facts {
    let attachment = |device: &str, pod: Option<&str>, program| Attachment {
        device: device.to_owned(),
        pod: pod.map(str::to_owned),
        program,
        found: Found::Current { id: 7 },
    };
    Facts {
        agent: AgentFacts {
            address: "127.0.0.1:9470".to_owned(),
            version: Some(VERSION.to_owned()),
            ..AgentFacts::default()
        },
        serves: true,
        attachments: vec![
            attachment("weir1", Some("shop/web"), "from_pod"),
            attachment("weir1", Some("shop/web"), "to_pod"),
            attachment("weir.1", None, "from_overlay"),
        ],
        sockets: vec![AtSockets { name: "connect4", pinned: Some(9), attached: Some(9) }],
        maps: vec![fill("SERVICES_V4", WhenFull::Refuses, 89)],
        pods: vec![PodFacts {
            pod: "shop/web".to_owned(),
            interface: "weir1".to_owned(),
            mtu: Some(1450),
            map_entry: Some(MapEntry::Present),
        }],
        mtu: MtuFacts {
            wanted: Some(1450),
            bridge: Some(1450),
            tunnel: Some(Tunnel { device: "weir.1".to_owned(), mtu: 1450 }),
        },
        ..Facts::default()
    }
}

fn fill(map: &'static str, when_full: WhenFull, entries: usize) -> Fill {
    Fill { map, when_full, entries, capacity: 100 }
}

/// The problems of a node with this change.
fn problems(change: impl FnOnce(&mut Facts)) -> Vec<Problem> {
    let mut facts = node();
    change(&mut facts);
    judge(&facts, VERSION)
}

/// The only problem of a node with this change.
fn only(change: impl FnOnce(&mut Facts)) -> Problem {
    let problems = problems(change);
    let [problem] = problems.as_slice() else { panic!("not one problem: {problems:#?}") };
    assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
    problem.clone()
}

#[test]
fn a_node_without_problems_is_healthy() {
    assert_eq!(problems(|_| {}), []);
}

#[test]
fn of_a_silent_agent_only_the_silence_is_reported() {
    let problem = only(|facts| {
        facts.agent = AgentFacts {
            address: "127.0.0.1:9470".to_owned(),
            silence: Some("connection refused".to_owned()),
            ..AgentFacts::default()
        };
    });
    assert_eq!(problem.kind, Kind::AgentDown);
    assert!(problem.message.contains("127.0.0.1:9470: connection refused"), "{problem:?}");
}

#[test]
fn a_stuck_agent_is_reported() {
    let problem = only(|facts| facts.agent.stuck = Some("no sign of life for 90 s".to_owned()));
    assert_eq!(problem.kind, Kind::AgentStuck);
}

#[test]
fn each_unmet_condition_is_reported_with_its_reason() {
    let waiting =
        |condition: &str| Waiting { condition: condition.to_owned(), reason: "because".to_owned() };
    let problems = problems(|facts| {
        facts.agent.waiting = ["cluster-seen", "peers-programmed"].map(waiting).into();
    });
    let kinds: Vec<_> = problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [Kind::AgentNotReady, Kind::PeerNotProgrammed]);
    assert!(problems[0].message.ends_with("cluster-seen: because"), "{problems:?}");
    assert!(problems[0].remedy.contains("API server"), "{problems:?}");
}

#[test]
fn a_concern_of_the_agent_is_reported_verbatim() {
    let problem = only(|facts| {
        facts.agent.concerns = vec![Concern {
            reason: "ForwardingDropped".to_owned(),
            message: "ip filter FORWARD drops, run: iptables …".to_owned(),
        }];
    });
    assert_eq!(problem.kind, Kind::Concern);
    assert!(problem.message.contains("run: iptables"), "{problem:?}");
}

#[test]
fn a_table_of_flows_that_fills_up_is_reported_once_with_numbers_and_advice() {
    let filling = |map, entries| fill(map, WhenFull::Refuses, entries);
    let concern = |reason: &str| Concern { reason: reason.to_owned(), message: "m".to_owned() };
    let problem = only(|facts| {
        facts.maps = vec![filling("FLOWS_TCP_V4", 92), filling("FLOWS_DGRAM_V4", 88)];
        facts.agent.concerns = vec![concern("FlowTableFilling")];
    });
    assert_eq!(problem.kind, Kind::FlowTableFilling);
    assert!(problem.message.contains("flows_tcp_v4 is 92 %"), "{problem:?}");
    assert!(problem.message.ends_with("46 of 50"), "{problem:?}");
    for advice in ["--map-capacity=flows-tcp=200", "weir flows --protocol tcp"] {
        assert!(problem.remedy.contains(advice), "{problem:?}");
    }
    // The agent's concern ends later than the tool's.
    let problem = only(|facts| facts.agent.concerns = vec![concern("FlowTableFilling")]);
    assert_eq!(problem.kind, Kind::Concern);
    let problems = problems(|facts| {
        facts.maps = vec![filling("FLOWS_DGRAM_V6", 100)];
        facts.agent.concerns = vec![concern("FlowTableFilling"), concern("FlowTableFull")];
    });
    let kinds: Vec<_> = problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [Kind::Concern, Kind::FlowTableFilling]);
}

#[test]
fn an_agent_or_maps_of_another_version_are_reported() {
    let problem = only(|facts| facts.agent.version = Some("2.0.0".to_owned()));
    assert_eq!(problem.kind, Kind::OtherVersion);
    let problem = only(|facts| facts.foreign_maps = Some("FLOWS_TCP_V4-9".to_owned()));
    assert_eq!(problem.kind, Kind::OtherVersion);
}

#[test]
fn a_missing_program_is_reported_with_its_pod() {
    let problem = only(|facts| facts.attachments[1].found = Found::Missing);
    assert_eq!(problem.kind, Kind::ProgramMissing);
    assert!(problem.message.contains("weir1 (pod shop/web) has no program to_pod"), "{problem:?}");
    let problem = only(|facts| facts.sockets[0].attached = None);
    assert_eq!(problem.kind, Kind::ProgramMissing);
}

#[test]
fn a_program_that_is_not_the_pinned_one_is_reported() {
    let outdated = Found::Outdated { id: 3, pinned_id: 7 };
    let problem = only(|facts| facts.attachments[2].found = outdated);
    assert_eq!(problem.kind, Kind::ProgramOutdated);
    let problem = only(|facts| facts.sockets[0].attached = Some(3));
    assert_eq!(problem.kind, Kind::ProgramOutdated);
}

#[test]
fn a_socket_program_that_the_kernel_does_not_support_is_not_a_problem() {
    let absent = AtSockets { name: "getpeername4", pinned: None, attached: None };
    assert_eq!(problems(|facts| facts.sockets.push(absent)), []);
}

#[test]
fn a_map_is_full_from_nine_tenths_on_unless_it_evicts() {
    let problem = only(|facts| facts.maps.push(fill("BACKENDS_V6", WhenFull::Refuses, 90)));
    assert_eq!(problem.kind, Kind::MapFull);
    assert!(problem.message.contains("backends_v6 is 90 % full: 90 of 100"), "{problem:?}");
    assert_eq!(problems(|facts| facts.maps.push(fill("FLOWS_TCP_V4", WhenFull::Evicts, 100))), []);
}

#[test]
fn a_pod_without_a_map_entry_is_reported() {
    for entry in [MapEntry::Missing, MapEntry::Elsewhere] {
        let problem = only(|facts| facts.pods[0].map_entry = Some(entry));
        assert_eq!(problem.kind, Kind::PodNotInMap);
    }
}

#[test]
fn a_wrong_entry_of_the_bridge_is_reported_and_a_shared_mac_address_only_without_the_agent() {
    let record: EndpointRecord = serde_json::from_str(
        r#"{"version":1,"network":"weir","containerID":"c","ifname":"eth0","netns":"/run/netns/a",
            "hostInterface":"weir1","hostIfindex":7,"bridge":"weir0","mac":"0a:58:0a:f4:01:05",
            "addresses":[],"mtu":1450,"pod":{"namespace":"shop","name":"web"},"portMappings":[]}"#,
    )
    .unwrap();
    for fault in [Fault::Own, Fault::Pod { record: record.clone() }] {
        let problem = only(|facts| facts.forwarding = vec![fault]);
        assert_eq!(problem.kind, Kind::ForwardingWrong);
    }
    let (mac, kept) = ("0a:58:0a:f4:01:05".to_owned(), "bridge weir0".to_owned());
    let shared = Fault::Shared { mac, kept, record };
    assert_eq!(problems(|facts| facts.forwarding = vec![shared.clone()]), []);
    let problems = problems(|facts| {
        facts.agent.silence = Some("refused".to_owned());
        facts.forwarding = vec![shared];
    });
    assert_eq!(problems.last().map(|problem| problem.kind), Some(Kind::ForwardingWrong));
}

#[test]
fn a_pod_without_its_interface_is_reported_once() {
    let problem = only(|facts| {
        facts.attachments.truncate(0);
        facts.pods[0].mtu = None;
        facts.pods[0].map_entry = Some(MapEntry::Missing);
    });
    assert_eq!(problem.kind, Kind::InterfaceMissing);
}

#[test]
fn an_mtu_that_loses_packets_is_reported_and_a_smaller_one_is_not() {
    for change in [
        |facts: &mut Facts| facts.pods[0].mtu = Some(1500),
        |facts: &mut Facts| facts.mtu.bridge = Some(1400),
        |facts: &mut Facts| {
            facts.mtu.tunnel = Some(Tunnel { device: "weir.1".to_owned(), mtu: 1400 });
        },
    ] {
        assert_eq!(only(change).kind, Kind::MtuMismatch);
    }
    assert_eq!(problems(|facts| facts.pods[0].mtu = Some(1400)), []);
    assert_eq!(problems(|facts| facts.mtu = MtuFacts::default()), []);
}

#[test]
fn leftovers_of_kube_proxy_are_reported_once_if_weir_serves() {
    let left = |name: &str| (Owner::KubeProxy, Leftover::Ipset(name.to_owned()));
    let problem = only(|facts| facts.leftovers = vec![left("KUBE-A"), left("KUBE-B")]);
    assert_eq!(problem.kind, Kind::KubeProxyLeft);
    assert!(problem.message.contains("2 things (ipset KUBE-A, …)"), "{problem:?}");
    assert!(problem.remedy.contains("weir cleanup --kube-proxy"), "{problem:?}");
    let without_services = |facts: &mut Facts| {
        *facts = Facts { leftovers: vec![left("KUBE-A")], serves: false, ..node() };
    };
    assert_eq!(problems(without_services), []);
}

#[test]
fn leftovers_of_flannel_are_reported() {
    let left = (Owner::Flannel, Leftover::Link("flannel.1".to_owned()));
    assert_eq!(only(|facts| facts.leftovers = vec![left]).kind, Kind::FlannelLeft);
}
