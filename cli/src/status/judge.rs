//! Derives problems from facts, each with its remedy.

use serde::Serialize;
use weir_node::forwarding::Fault;

use super::facts::{AgentFacts, Concern, Facts, PodFacts, Tunnel};
use crate::endpoints::MapEntry;
use crate::leftovers::Owner;
use crate::node::maps::{Fill, WhenFull};
use crate::node::programs::Found;
use crate::output::count;

/// A map that is fuller has little room left.
const FULL: u64 = 90;

/// The reason of the agent's concern about a table of flows with little room left.
const FILLING: &str = "FlowTableFilling";

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// A problem.
    pub(crate) message: String,
    /// How to fix it.
    pub(crate) remedy: String,
}

/// The kind of a problem in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    AgentDown,
    AgentStuck,
    AgentNotReady,
    PeerNotProgrammed,
    Concern,
    OtherVersion,
    ProgramMissing,
    ProgramOutdated,
    PodNotInMap,
    InterfaceMissing,
    ForwardingWrong,
    MapFull,
    FlowTableFilling,
    KubeProxyLeft,
    FlannelLeft,
    MtuMismatch,
}

/// All problems, the worst first.
pub(crate) fn judge(facts: &Facts, own_version: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let fills: Vec<Problem> = facts.maps.iter().filter_map(check_fill).collect();
    // What the tool sees itself has numbers.
    let is_seen = |concern: &Concern| {
        concern.reason == FILLING && fills.iter().any(|fill| fill.kind == Kind::FlowTableFilling)
    };
    agent(&facts.agent, own_version, is_seen, &mut problems);
    if let Some(path) = &facts.foreign_maps {
        problems.push(Problem {
            kind: Kind::OtherVersion,
            message: format!("the pinned maps are of another version: {path} does not exist"),
            remedy: "use the weir in the container of the agent".to_owned(),
        });
    }
    programs(facts, &mut problems);
    problems.extend(fills);
    problems.extend(facts.pods.iter().filter_map(pod));
    problems.extend(facts.forwarding.iter().filter_map(|fault| forwarding(fault, &facts.agent)));
    mtu(facts, &mut problems);
    leftovers(facts, &mut problems);
    problems
}

fn agent(
    agent: &AgentFacts,
    own_version: &str,
    is_seen: impl Fn(&Concern) -> bool,
    problems: &mut Vec<Problem>,
) {
    const LOG: &str = "kubectl -n weir-system logs ds/weir-agent";
    if let Some(silence) = &agent.silence {
        problems.push(Problem {
            kind: Kind::AgentDown,
            message: format!("the agent does not answer at {}: {silence}", agent.address),
            remedy: format!(
                "pods keep their network, but nothing is updated or repaired: find out why the agent is down \
                 (kubectl -n weir-system get pods -o wide; {LOG}); if it uses another address, set \
                 --health-address"
            ),
        });
        return;
    }
    if let Some(stuck) = &agent.stuck {
        problems.push(Problem {
            kind: Kind::AgentStuck,
            message: format!("the agent is stuck: {stuck}"),
            remedy: format!("check its log ({LOG}), and restart it"),
        });
    }
    for waiting in &agent.waiting {
        let (kind, remedy) = match waiting.condition.as_str() {
            "peers-programmed" => (
                Kind::PeerNotProgrammed,
                format!("check the log of the agent for the failure ({LOG})"),
            ),
            condition => (Kind::AgentNotReady, remedy_of(condition).to_owned()),
        };
        problems.push(Problem {
            kind,
            message: format!("the agent waits for {}: {}", waiting.condition, waiting.reason),
            remedy,
        });
    }
    for concern in agent.concerns.iter().filter(|concern| !is_seen(concern)) {
        problems.push(Problem {
            kind: Kind::Concern,
            message: format!("{}: {}", concern.reason, concern.message),
            remedy: "see the message".to_owned(),
        });
    }
    if let Some(version) = agent.version.as_deref().filter(|version| *version != own_version) {
        problems.push(Problem {
            kind: Kind::OtherVersion,
            message: format!("the agent is of version {version}, this tool of {own_version}"),
            remedy: "use the weir in the container of the agent".to_owned(),
        });
    }
}

fn remedy_of(condition: &str) -> &'static str {
    match condition {
        "cluster-seen" => {
            "check that the API server is up and that the agent is authorized to read it"
        }
        "subnets-assigned" => {
            "run the controller manager with --allocate-node-cidrs and --cluster-cidr, or set \
             podCIDR on the Node"
        }
        "node-joined" => {
            "see the reason: the node's address must be on a link that is up, and no other device may \
             have the name of the pods' bridge (WEIR_BRIDGE)"
        }
        "bridge-entries-set" => {
            "see the reason; bridge fdb show br weir0 lists the entries, and bridge monitor fdb who changes \
             them"
        }
        "table-written" => {
            "check that the program nft runs on the node (nft list ruleset), that the kernel has \
             nftables (CONFIG_NF_TABLES_INET), and that the agent has the capability NET_ADMIN"
        }
        "programs-attached" => {
            "check that the kernel is 5.10 or later, that /sys/fs/bpf is a BPF file system, and that \
             the agent has the capabilities NET_ADMIN, BPF and PERFMON"
        }
        "services-programmed" => "see the reason, and check the table of maps below for a full map",
        "flows-swept" => {
            "see the reason; until the agent can read the pinned maps of flows, closed flows take \
             their room: check that it has the capabilities NET_ADMIN and BPF, and restart it if a \
             map is missing"
        }
        "configuration-written" => "check that the directory of CNI configurations is writable",
        _ => "wait, and check the log of the agent if this persists",
    }
}

fn programs(facts: &Facts, problems: &mut Vec<Problem>) {
    let repair = if facts.agent.silence.is_some() {
        "start the agent, which attaches it again"
    } else {
        "the agent attaches it again within seconds; if not, check its log"
    };
    for attachment in &facts.attachments {
        let at = match &attachment.pod {
            Some(pod) => format!("{} (pod {pod})", attachment.device),
            None => attachment.device.clone(),
        };
        let (kind, message) = match attachment.found {
            Found::Current { .. } => continue,
            Found::Missing => (
                Kind::ProgramMissing,
                format!("{at} has no program {}: Services do not work there", attachment.program),
            ),
            Found::Outdated { id, pinned_id } => (
                Kind::ProgramOutdated,
                format!(
                    "{at} has program {} with ID {id}, but {pinned_id} is pinned",
                    attachment.program
                ),
            ),
        };
        problems.push(Problem { kind, message, remedy: repair.to_owned() });
    }
    for program in &facts.sockets {
        let name = program.name;
        let (kind, message) = match (program.pinned, program.attached) {
            (Some(_), None) => (
                Kind::ProgramMissing,
                format!("the sockets of this node's processes have no program {name}"),
            ),
            (Some(pinned), Some(attached)) if pinned != attached => (
                Kind::ProgramOutdated,
                format!(
                    "the sockets have program {name} with ID {attached}, but {pinned} is pinned"
                ),
            ),
            _ => continue,
        };
        let remedy = "restart the agent, which attaches them".to_owned();
        problems.push(Problem { kind, message, remedy });
    }
}

/// Reports a map that is nearly full. Maps that evict their oldest entry may be full.
fn check_fill(fill: &Fill) -> Option<Problem> {
    let (entries, capacity) = (fill.entries as u64, u64::from(fill.capacity));
    if fill.when_full == WhenFull::Evicts || capacity == 0 || entries * 100 < capacity * FULL {
        return None;
    }
    let percent = entries * 100 / capacity;
    if let Some((option, protocol)) = flows_of(fill.map) {
        return Some(Problem {
            kind: Kind::FlowTableFilling,
            message: format!(
                "map {} is {percent} % full of established flows: {} of {}",
                fill.map.to_lowercase(),
                entries / 2,
                capacity / 2
            ),
            remedy: format!(
                "new flows are dropped when it is full: find who holds them (weir flows --protocol \
                 {protocol}), or raise the agent's --map-capacity={option}={}; an existing map keeps \
                 its capacity until its pinned files are removed and the agent is restarted, which \
                 interrupts connections through Services",
                capacity * 2
            ),
        });
    }
    Some(Problem {
        kind: Kind::MapFull,
        message: format!(
            "map {} is {percent} % full: {entries} of {capacity} entries",
            fill.map.to_lowercase()
        ),
        remedy:
            "objects beyond the capacity are not served: raise it (--map-capacity of the agent), or \
                 use fewer Services, endpoints or nodes"
                .to_owned(),
    })
}

/// The option and the protocol of a map of flows.
fn flows_of(map: &str) -> Option<(&'static str, &'static str)> {
    if map.starts_with("FLOWS_TCP") {
        Some(("flows-tcp", "tcp"))
    } else if map.starts_with("FLOWS_DGRAM") {
        Some(("flows-datagram", "udp"))
    } else {
        None
    }
}

fn pod(facts: &PodFacts) -> Option<Problem> {
    let PodFacts { pod, interface, mtu, map_entry } = facts;
    if mtu.is_none() {
        return Some(Problem {
            kind: Kind::InterfaceMissing,
            message: format!("pod {pod} has an endpoint record, but its interface {interface} is gone"),
            remedy:
                "delete the pod, so that it is recreated; if the pod is already gone, the next garbage \
                     collection of the runtime removes the record"
                    .to_owned(),
        });
    }
    let what = match map_entry {
        None | Some(MapEntry::Present | MapEntry::Unrecorded) => return None,
        Some(MapEntry::Missing) => "is not in the map of this node's pods",
        Some(MapEntry::Elsewhere) => "leads to another interface in the map of this node's pods",
    };
    Some(Problem {
        kind: Kind::PodNotInMap,
        message: format!("pod {pod} {what}"),
        remedy: "the agent repairs it within seconds; if not, check its log".to_owned(),
    })
}

/// Reports a wrong entry of the bridge. A MAC address that two have is a concern of the agent if it runs.
fn forwarding(fault: &Fault, agent: &AgentFacts) -> Option<Problem> {
    let repair = "the agent sets it again within seconds; if not, check its log";
    let (message, remedy) = match fault {
        Fault::Own => (
            "the bridge's FDB entry for its own MAC address is gone or leads to a port: the node gets \
             no packets of its pods"
                .to_owned(),
            repair,
        ),
        Fault::Pod { record } => (
            format!(
                "the bridge's FDB entry for {} of pod {} is gone, leads elsewhere or is not sticky",
                record.mac,
                record.pod_name()
            ),
            repair,
        ),
        Fault::Shared { .. } if agent.silence.is_none() => return None,
        Fault::Shared { mac, kept, record } => (
            format!("pod {} has the MAC address {mac} of {kept}: it gets no packets", record.pod_name()),
            "delete the pod, and request another MAC address for it, or none",
        ),
    };
    Some(Problem { kind: Kind::ForwardingWrong, message, remedy: remedy.to_owned() })
}

fn mtu(facts: &Facts, problems: &mut Vec<Problem>) {
    let mtu = &facts.mtu;
    let Some(wanted) = mtu.wanted else { return };
    let mut problem = |message: String, remedy: &str| {
        let remedy = remedy.to_owned();
        problems.push(Problem { kind: Kind::MtuMismatch, message, remedy });
    };
    if let Some(Tunnel { device, mtu: found }) = mtu.tunnel.as_ref().filter(|t| t.mtu < wanted) {
        problem(
            format!(
                "pods may send {wanted} bytes, but the MTU of {device} is {found}: large packets are lost"
            ),
            "the agent sets it within seconds; if not, check Backend.MTU and the MTU of the uplink",
        );
    }
    if let Some(found) = mtu.bridge.filter(|found| *found < wanted) {
        problem(
            format!("pods may send {wanted} bytes, but the MTU of their bridge is {found}"),
            "pods with a smaller MTU have reduced it: recreate the oldest pods of this node",
        );
    }
    let larger: Vec<_> = facts
        .pods
        .iter()
        .filter(|pod| pod.mtu.is_some_and(|found| found > wanted))
        .map(|pod| pod.pod.as_str())
        .collect();
    if let Some(first) = larger.first() {
        problem(
            format!(
                "{} may send more than the {wanted} bytes that reach other nodes ({first}, …): \
                 large packets are lost",
                count(larger.len(), "pod")
            ),
            "they are older than the smaller MTU: delete them, so that they are recreated",
        );
    }
}

fn leftovers(facts: &Facts, problems: &mut Vec<Problem>) {
    for owner in [Owner::KubeProxy, Owner::Flannel] {
        let left: Vec<_> = facts
            .leftovers
            .iter()
            .filter(|(whose, _)| *whose == owner)
            .map(|(_, left)| left)
            .collect();
        let Some(first) = left.first() else { continue };
        let (kind, why) = match owner {
            // Without Services of Weir, kube-proxy is needed.
            Owner::KubeProxy if !facts.serves => continue,
            Owner::KubeProxy => (Kind::KubeProxyLeft, "its rules may handle traffic of Services"),
            Owner::Flannel => (Kind::FlannelLeft, "it may get new pods, or packets of pods"),
        };
        let more = if left.len() > 1 { ", …" } else { "" };
        problems.push(Problem {
            kind,
            message: format!(
                "{owner} has left {} ({first}{more}): {why}",
                count(left.len(), "thing")
            ),
            remedy: format!(
                "if {owner} no longer runs here: weir cleanup {} (lists what would be removed; \
                 --yes removes it)",
                owner.option()
            ),
        });
    }
}

#[cfg(test)]
mod tests;
