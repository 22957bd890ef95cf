//! From what the program did to what it means. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;
use weir_datapath::Action;
use weir_datapath::common::{Reason, RouteKind};

use super::attempt::Attempt;
use super::packet::Tuple;
use super::{Destination, Sender};
use crate::node::maps::{Frontend, Programmed, Route};
use crate::node::names::{Name, Names};
use crate::output::{UNKNOWN, count, table};
use crate::protocol::Protocol;
use crate::services::at;

/// What the node is like.
pub(super) struct Surroundings {
    pub(super) devices: HashMap<u32, String>,
    /// This node's pods: the interface and the name.
    pub(super) pods: HashMap<IpAddr, (u32, String)>,
    pub(super) routes: Vec<Route>,
    pub(super) programmed: Programmed,
    pub(super) names: Names,
    pub(super) masquerade_mark: u32,
}

/// What became of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Into a pod of this node, past the stack.
    RedirectedToPod,
    /// To another node, past the stack.
    RedirectedToNode,
    /// By the node's stack.
    Stack,
    /// Nowhere, without a word.
    Dropped,
    /// Nowhere, and the pod is told.
    Rejected,
    /// Something that this version does not know.
    Unknown,
}

/// Everything that is told.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    pod: String,
    protocol: Protocol,
    sent: Tuple,
    /// Nothing if it is sent to no Service.
    service: Option<ServiceStory>,
    /// Nothing if it was given none.
    backend: Option<BackendStory>,
    verdict: Verdict,
    /// Why it was dropped or rejected, as counters name it.
    reason: Option<&'static str>,
    /// The device that it leaves by, if it goes past the stack.
    device: Option<String>,
    /// The neighbour on that device.
    next_hop: Option<IpAddr>,
    /// The node's stack gives it the node's address.
    masqueraded: bool,
    /// What it looks like afterwards; what the pod gets, if it is rejected.
    rewritten: Option<Tuple>,
    /// By how much counters have grown meanwhile.
    counters: BTreeMap<&'static str, u64>,
    /// Other packets were counted at the same time, so that `reason` may be theirs.
    counters_shared: bool,
    /// Entries of maps that the program has made, and that are gone again.
    entries_removed: u32,
    /// All of that in words.
    explanation: String,
}

#[derive(Debug, Serialize)]
struct ServiceStory {
    name: Option<Name>,
    id: u32,
    /// From how many backends one is chosen.
    backends: usize,
    affinity_seconds: u32,
}

#[derive(Debug, Serialize)]
struct BackendStory {
    id: u32,
    address: IpAddr,
    port: u16,
    /// The pod, if it is one of this node.
    pod: Option<String>,
}

/// Puts an attempt into words.
pub(super) fn explain(
    sender: &Sender,
    destination: &Destination,
    attempt: &Attempt,
    around: &Surroundings,
) -> Story {
    let way = way(attempt, around);
    let (reason, counters_shared) = reason(way.verdict, &attempt.counted);
    let service = service(destination, attempt, around);
    let backend = backend(attempt, around);
    let masqueraded = attempt.mark & around.masquerade_mark != 0;
    let mut story = Story {
        pod: sender.name.clone(),
        protocol: destination.protocol,
        sent: attempt.sent,
        service,
        backend,
        verdict: way.verdict,
        reason: reason.map(Reason::name),
        device: way.device,
        next_hop: way.next_hop,
        masqueraded,
        rewritten: attempt.left.filter(|_| way.verdict != Verdict::Dropped),
        counters: attempt.counted.iter().map(|(reason, n)| (reason.name(), *n)).collect(),
        counters_shared,
        entries_removed: attempt.removed,
        explanation: String::new(),
    };
    story.explanation = sentence(&story, reason, attempt, around);
    story
}

struct Way {
    verdict: Verdict,
    device: Option<String>,
    next_hop: Option<IpAddr>,
}

fn way(attempt: &Attempt, around: &Surroundings) -> Way {
    let plain = |verdict| Way { verdict, device: None, next_hop: None };
    let device = |index| around.devices.get(&index).cloned();
    let Some(left) = attempt.left else { return plain(Verdict::Unknown) };
    match attempt.action {
        Action::Stack => plain(Verdict::Stack),
        Action::Drop => plain(Verdict::Dropped),
        Action::Other(_) => plain(Verdict::Unknown),
        // The kernel does not tell where to, so it is found as the program found it.
        Action::Redirect if is_answer(&left, &attempt.sent) => plain(Verdict::Rejected),
        Action::Redirect => {
            match (around.pods.get(&left.destination), around.route(&left.destination)) {
                (Some((ifindex, _)), _) => Way {
                    verdict: Verdict::RedirectedToPod,
                    device: device(*ifindex),
                    next_hop: None,
                },
                (None, Some(route)) => Way {
                    verdict: Verdict::RedirectedToNode,
                    device: device(route.ifindex),
                    next_hop: Some(route.next_hop),
                },
                (None, None) => plain(Verdict::Unknown),
            }
        }
    }
}

/// Whether a packet goes back to where the other came from.
fn is_answer(left: &Tuple, sent: &Tuple) -> bool {
    left.destination == sent.source && left.source == sent.destination
}

impl Surroundings {
    /// What lies behind an address, by the longest prefix.
    fn route(&self, address: &IpAddr) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| route.prefix.contains(*address));
        matching.max_by_key(|route| route.prefix.prefix())
    }
}

/// Which counter says why it did not go on, and whether other packets were counted as well.
fn reason(verdict: Verdict, counted: &[(Reason, u64)]) -> (Option<Reason>, bool) {
    let has_prefix = |reason: &Reason, prefix: &str| reason.name().starts_with(prefix);
    let ends = |reason: &Reason| has_prefix(reason, "dropped_") || has_prefix(reason, "rejected_");
    let is_end = matches!(verdict, Verdict::Dropped | Verdict::Rejected);
    let candidates: Vec<_> =
        counted.iter().map(|(reason, _)| *reason).filter(|reason| is_end && ends(reason)).collect();
    let others = counted.iter().any(|(reason, by)| {
        *by > 1
            || has_prefix(reason, "socket_")
            || (is_end && !candidates.contains(reason))
            || (!is_end && ends(reason))
    });
    (candidates.first().copied(), others || candidates.len() > 1)
}

fn service(
    destination: &Destination,
    attempt: &Attempt,
    around: &Surroundings,
) -> Option<ServiceStory> {
    let service = attempt.service?;
    let Destination { address, port, protocol } = *destination;
    let frontend = Frontend { address, port, protocol, service };
    let mut backends: Vec<_> = around.programmed.chosen_from(&frontend).collect();
    backends.sort_unstable();
    backends.dedup();
    Some(ServiceStory {
        name: around.names.of(address, port, protocol).cloned(),
        id: service.id,
        backends: backends.len(),
        affinity_seconds: service.affinity,
    })
}

fn backend(attempt: &Attempt, around: &Surroundings) -> Option<BackendStory> {
    let id = attempt.backend.filter(|id| *id != 0)?;
    let target = around.programmed.backends.get(&(attempt.sent.source.is_ipv4(), id))?;
    let pod = around.pods.get(&target.address).map(|(_, name)| name.clone());
    Some(BackendStory { id, address: target.address, port: target.port, pod })
}

fn sentence(
    story: &Story,
    reason: Option<Reason>,
    attempt: &Attempt,
    around: &Surroundings,
) -> String {
    let mut text = opening(story, around);
    if let Some(BackendStory { address, port, .. }) = &story.backend {
        text += &format!(" It was given the backend {}", at(*address, *port));
        match story.service.as_ref().map(|service| service.backends) {
            Some(1) => text += ", the only one.",
            Some(several) => text += &format!(", one of {several}; another flow may get another."),
            None => text += ".",
        }
    }
    text += " ";
    text += &ending(story, reason, attempt, around);
    text
}

fn opening(story: &Story, around: &Surroundings) -> String {
    let to = at(story.sent.destination, story.sent.destination_port.unwrap_or_default());
    match &story.service {
        Some(ServiceStory { name: Some(name), .. }) => format!("{to} is the Service {name}."),
        Some(ServiceStory { name: None, .. }) => {
            format!("{to} is a Service; the agent does not tell its name.")
        }
        None => match around.pods.get(&story.sent.destination) {
            Some((_, pod)) => format!("{to} is the pod {pod} of this node."),
            None => format!("{to} is no Service's port."),
        },
    }
}

fn ending(
    story: &Story,
    reason: Option<Reason>,
    attempt: &Attempt,
    around: &Surroundings,
) -> String {
    let device = story.device.as_deref().unwrap_or("a device that is gone");
    match story.verdict {
        Verdict::RedirectedToPod => {
            format!(
                "The packet goes straight into a pod of this node, by {device}, past the stack."
            )
        }
        Verdict::RedirectedToNode => {
            let hop = story.next_hop.map_or_else(|| UNKNOWN.to_owned(), |hop| hop.to_string());
            format!(
                "The packet goes to another node, by {device} to its neighbour {hop}, past the \
                 stack."
            )
        }
        Verdict::Stack => by_stack(story, attempt, around),
        Verdict::Dropped => format!(
            "The packet is dropped, and the pod is told nothing: {}.",
            reason.map_or("the program does not say why", because)
        ),
        Verdict::Rejected => {
            let how = if story.protocol == Protocol::TCP {
                "gets a reset (\"connection refused\")"
            } else {
                "gets an ICMP error (\"port unreachable\")"
            };
            format!(
                "The packet is rejected, and the pod {how} at once: {}.",
                reason.map_or("the program does not say why", because)
            )
        }
        Verdict::Unknown => "What the program did is not known to this version.".to_owned(),
    }
}

fn by_stack(story: &Story, attempt: &Attempt, around: &Surroundings) -> String {
    if story.masqueraded {
        return "The packet goes by the node's stack, which gives it the node's own address, so \
                that the answer comes back this way: the pod is its own backend, or the Service \
                wants it."
            .to_owned();
    }
    let Some(left) = attempt.left else { return String::new() };
    let kind = around.route(&left.destination).map(|route| route.kind);
    let is = |wanted: RouteKind| kind == Some(wanted as u32);
    let how = if around.pods.contains_key(&left.destination) {
        "which bridges it to the pod"
    } else if is(RouteKind::LocalPods) {
        "to this node's pod network, where no pod has that address"
    } else if is(RouteKind::RemotePods) {
        "which routes it to another node's pods"
    } else if is(RouteKind::Node) {
        "which delivers or routes it to a node"
    } else {
        "which routes it out of the cluster, and may give it the node's address (--ip-masq)"
    };
    format!("The packet goes by the node's stack, {how}.")
}

/// What a counter means for one packet.
fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::RejectedNoBackend => "the Service has no endpoint that could take it",
        Reason::RejectedNoPort => "the address is a Service's, which has no such port",
        Reason::DroppedLocalPolicy => {
            "the Service may only use endpoints of this node (internalTrafficPolicy: Local), and \
             there are none"
        }
        Reason::DroppedFragment => "it is a fragment whose beginning was not seen",
        Reason::DroppedMalformed => "its headers are cut off",
        Reason::DroppedSctpPort => {
            "the backend has another port, and the checksum of SCTP cannot be corrected for that"
        }
        Reason::DroppedRewrite => "the kernel refused to change it",
        Reason::DroppedNoSlot => {
            "the Service's backends are not in the maps: the agent puts that right, or its log says \
             why not"
        }
        Reason::DroppedCollision => {
            "every source port that it could be given towards its backend is taken"
        }
        _ => "see the counters",
    }
}

impl Story {
    /// For people.
    pub(super) fn text(&self) -> String {
        let tuple = |tuple: &Tuple| {
            let end = |address, port: Option<u16>| match port {
                Some(port) => at(address, port),
                None => address.to_string(),
            };
            format!(
                "{} -> {}",
                end(tuple.source, tuple.source_port),
                end(tuple.destination, tuple.destination_port)
            )
        };
        let mut rows = vec![("pod", self.pod.clone())];
        rows.push(("packet", format!("{}, {}", tuple(&self.sent), self.protocol)));
        rows.push(("service", self.service.as_ref().map_or_else(none, ServiceStory::text)));
        rows.push(("backend", self.backend.as_ref().map_or_else(none, BackendStory::text)));
        rows.push(("verdict", self.verdict_text()));
        rows.push(("rewritten", self.rewritten.as_ref().map_or_else(none, tuple)));
        let counters: Vec<_> =
            self.counters.iter().map(|(reason, by)| format!("{reason} +{by}")).collect();
        rows.push(("counters", if counters.is_empty() { none() } else { counters.join(", ") }));
        let table =
            table(&["TRACE", ""], rows.into_iter().map(|(key, value)| [key.to_owned(), value]));
        let mut text = format!("{}\n\n{table}", self.explanation);
        if self.counters_shared {
            text += "\n\nOther packets were counted meanwhile: a reason may be theirs.";
        }
        text += match self.entries_removed {
            0 => "\n\nNothing was sent, and no flow was made.",
            _ => "\n\nNothing was sent, and what the program wrote into the maps is gone again.",
        };
        text
    }

    fn verdict_text(&self) -> String {
        let mut text = match self.verdict {
            Verdict::RedirectedToPod => "to a pod, past the stack",
            Verdict::RedirectedToNode => "to a node, past the stack",
            Verdict::Stack => "by the stack",
            Verdict::Dropped => "dropped",
            Verdict::Rejected => "rejected",
            Verdict::Unknown => "unknown",
        }
        .to_owned();
        if let Some(device) = &self.device {
            text += &format!(", by {device}");
        }
        if self.masqueraded {
            text += ", masqueraded";
        }
        if let Some(reason) = self.reason {
            text += &format!(": {reason}");
        }
        text
    }
}

fn none() -> String {
    UNKNOWN.to_owned()
}

impl ServiceStory {
    fn text(&self) -> String {
        let name = self.name.as_ref().map_or_else(none, Name::to_string);
        let affinity = match self.affinity_seconds {
            0 => String::new(),
            seconds => format!(", affinity {seconds} s"),
        };
        format!("{name}, {}{affinity}", count(self.backends, "backend"))
    }
}

impl BackendStory {
    fn text(&self) -> String {
        let at = at(self.address, self.port);
        match &self.pod {
            Some(pod) => format!("{at} (pod {pod})"),
            None => at,
        }
    }
}

#[cfg(test)]
mod tests;
