//! From facts to problems, each with what to do about it.

use serde::Serialize;

use super::facts::{AgentFacts, Facts, PodFacts, Tunnel};
use crate::endpoints::MapEntry;
use crate::leftovers::Owner;
use crate::node::maps::{Fill, Room};
use crate::node::programs::Found;
use crate::output::count;

/// A map that is fuller has little room left.
const FULL: u64 = 90;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// For programs.
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
    MapFull,
    KubeProxyLeft,
    FlannelLeft,
    MtuMismatch,
}

/// Everything that is wrong, the worst first.
pub(crate) fn judge(facts: &Facts, own_version: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    agent(&facts.agent, own_version, &mut problems);
    if let Some(path) = &facts.foreign_maps {
        problems.push(Problem {
            kind: Kind::OtherVersion,
            message: format!("the pinned maps are not those of this version: there is no {path}"),
            remedy: "use the weir that is in the agent's container".to_owned(),
        });
    }
    programs(facts, &mut problems);
    problems.extend(facts.maps.iter().filter_map(full));
    problems.extend(facts.pods.iter().filter_map(pod));
    mtu(facts, &mut problems);
    leftovers(facts, &mut problems);
    problems
}

fn agent(agent: &AgentFacts, own_version: &str, problems: &mut Vec<Problem>) {
    const LOG: &str = "kubectl -n weir-system logs ds/weir-agent";
    if let Some(silence) = &agent.silence {
        problems.push(Problem {
            kind: Kind::AgentDown,
            message: format!("the agent does not answer at {}: {silence}", agent.address),
            remedy: format!(
                "the network goes on, and nothing is repaired or changed: see why it does not run \
                 (kubectl -n weir-system get pods -o wide; {LOG}); if it serves elsewhere, say \
                 --health-address"
            ),
        });
        return;
    }
    if let Some(stuck) = &agent.stuck {
        problems.push(Problem {
            kind: Kind::AgentStuck,
            message: format!("the agent does not go on: {stuck}"),
            remedy: format!("look at its log ({LOG}), and start it again"),
        });
    }
    for waiting in &agent.waiting {
        let (kind, remedy) = match waiting.condition.as_str() {
            "peers-programmed" => (
                Kind::PeerNotProgrammed,
                format!("look for what failed in the agent's log ({LOG})"),
            ),
            condition => (Kind::AgentNotReady, remedy_of(condition).to_owned()),
        };
        problems.push(Problem {
            kind,
            message: format!("the agent waits for {}: {}", waiting.condition, waiting.reason),
            remedy,
        });
    }
    for concern in &agent.concerns {
        problems.push(Problem {
            kind: Kind::Concern,
            message: format!("{}: {}", concern.reason, concern.message),
            remedy: "as the message says".to_owned(),
        });
    }
    if let Some(version) = agent.version.as_deref().filter(|version| *version != own_version) {
        problems.push(Problem {
            kind: Kind::OtherVersion,
            message: format!("the agent is of version {version}, this tool of {own_version}"),
            remedy: "use the weir that is in the agent's container".to_owned(),
        });
    }
}

fn remedy_of(condition: &str) -> &'static str {
    match condition {
        "cluster-seen" => "see whether the API server is up, and whether the agent may read it",
        "subnets-assigned" => {
            "run the controller manager with --allocate-node-cidrs and --cluster-cidr, or set \
             podCIDR on the Node"
        }
        "programs-attached" => {
            "see whether the kernel is 5.10 or later, /sys/fs/bpf is a BPF file system, and the \
             agent has the capabilities NET_ADMIN, BPF and PERFMON"
        }
        "services-programmed" => "see the reason, and the table of maps below for one that is full",
        "configuration-written" => "see whether the CNI configuration's directory can be written",
        _ => "wait, and look at the agent's log if it stays",
    }
}

fn programs(facts: &Facts, problems: &mut Vec<Problem>) {
    let repair = if facts.agent.silence.is_some() {
        "start the agent, which puts it back"
    } else {
        "the agent puts it back within seconds; if it does not, its log says why"
    };
    for place in &facts.places {
        let at = match &place.pod {
            Some(pod) => format!("{} (pod {pod})", place.device),
            None => place.device.clone(),
        };
        let (kind, message) = match place.found {
            Found::Current { .. } => continue,
            Found::Missing => (
                Kind::ProgramMissing,
                format!("{at} has no program {}: Services do not work there", place.program),
            ),
            Found::Outdated { id, pinned_id } => (
                Kind::ProgramOutdated,
                format!("{at} has program {} {id}, and {pinned_id} is pinned", place.program),
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
                format!("the sockets have program {name} {attached}, and {pinned} is pinned"),
            ),
            _ => continue,
        };
        let remedy = "start the agent again, which attaches them".to_owned();
        problems.push(Problem { kind, message, remedy });
    }
}

/// Whether a map has little room. Those that forget what is oldest are meant to be full.
fn full(fill: &Fill) -> Option<Problem> {
    let (entries, capacity) = (fill.entries as u64, u64::from(fill.capacity));
    if fill.room == Room::Forgetting || capacity == 0 || entries * 100 < capacity * FULL {
        return None;
    }
    let percent = entries * 100 / capacity;
    Some(Problem {
        kind: Kind::MapFull,
        message: format!(
            "map {} is {percent} % full: {entries} of {capacity} entries",
            fill.map.to_lowercase()
        ),
        remedy:
            "what does not fit is not served: give it room (the agent's --map-capacity), or have \
                 fewer Services, endpoints or nodes"
                .to_owned(),
    })
}

fn pod(facts: &PodFacts) -> Option<Problem> {
    let PodFacts { pod, interface, mtu, map_entry } = facts;
    if mtu.is_none() {
        return Some(Problem {
            kind: Kind::InterfaceMissing,
            message: format!("pod {pod} is recorded, and its interface {interface} is gone"),
            remedy:
                "delete the pod, so that it is made anew; if it is gone already, the runtime's \
                     next garbage collection removes the record"
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
        remedy: "the agent puts it right within seconds; if it does not, its log says why"
            .to_owned(),
    })
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
                "pods may send {wanted} bytes, and {device} takes {found}: large packets get lost"
            ),
            "the agent sets it within seconds; if it does not, see Backend.MTU and the uplink's MTU",
        );
    }
    if let Some(found) = mtu.bridge.filter(|found| *found < wanted) {
        problem(
            format!("pods may send {wanted} bytes, and their bridge takes {found}"),
            "pods of a smaller MTU made it smaller: start the oldest pods of this node again",
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
                 large packets get lost",
                count(larger.len(), "pod")
            ),
            "they are older than the smaller MTU: delete them, so that they are made anew",
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
            // Where Weir serves no Services, somebody has to.
            Owner::KubeProxy if !facts.serves => continue,
            Owner::KubeProxy => (Kind::KubeProxyLeft, "its rules may answer for Services"),
            Owner::Flannel => (Kind::FlannelLeft, "pods may be given to it, or their packets"),
        };
        let more = if left.len() > 1 { ", …" } else { "" };
        problems.push(Problem {
            kind,
            message: format!(
                "{owner} has left {} ({first}{more}): {why}",
                count(left.len(), "thing")
            ),
            remedy: format!(
                "if {owner} does not run here any more: weir cleanup {} (shows what would go, \
                 --yes removes it)",
                owner.option()
            ),
        });
    }
}

#[cfg(test)]
mod tests;
