//! Describes the outcome of an attempt. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;
use weir_datapath::Action;
use weir_datapath::common::{Reason, RouteKind};

use super::attempt::Attempt;
use super::packet::Tuple;
use super::request::{Destination, Sender};
use crate::node::maps::{Frontend, Programmed, Route};
use crate::node::names::{Name, Names};
use crate::output::{UNKNOWN, count, table};
use crate::protocol::Protocol;
use crate::services::at;

/// The state of the node.
pub(super) struct Node {
    pub(super) devices: HashMap<u32, String>,
    /// This node's pods: the interface and the name.
    pub(super) pods: HashMap<IpAddr, (u32, String)>,
    pub(super) routes: Vec<Route>,
    pub(super) programmed: Programmed,
    pub(super) names: Names,
    pub(super) masquerade_mark: u32,
}

/// What happened to the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Redirected to a pod of this node, bypassing the stack.
    RedirectedToPod,
    /// Redirected to another node, bypassing the stack.
    RedirectedToNode,
    /// Passed to the node's stack.
    Stack,
    /// Dropped without a response to the pod.
    Dropped,
    /// Rejected with a response to the pod.
    Rejected,
    /// An action that this version does not know.
    Unknown,
}

/// The output.
#[derive(Debug, Serialize)]
pub(super) struct Trace {
    pod: String,
    protocol: Protocol,
    sent: Tuple,
    /// `None` if the destination is not a Service.
    service: Option<ServiceTrace>,
    /// `None` without a backend.
    backend: Option<BackendTrace>,
    verdict: Verdict,
    /// Why it was dropped or rejected: the name of a counter.
    reason: Option<&'static str>,
    /// The device by which it leaves, if it bypasses the stack.
    device: Option<String>,
    /// The neighbour on that device.
    next_hop: Option<IpAddr>,
    /// Whether the stack masquerades it.
    masqueraded: bool,
    /// The packet afterwards; if it is rejected, the response to the pod.
    rewritten: Option<Tuple>,
    /// The increase of each counter meanwhile.
    counters: BTreeMap<&'static str, u64>,
    /// Whether other packets were counted meanwhile, so that `reason` may be of one of them.
    counters_shared: bool,
    /// Number of map entries that the program made, which are removed again.
    entries_removed: u32,
    /// The same as text.
    explanation: String,
}

#[derive(Debug, Serialize)]
struct ServiceTrace {
    name: Option<Name>,
    id: u32,
    /// Number of backends that get new flows.
    backends: usize,
    affinity_seconds: u32,
}

#[derive(Debug, Serialize)]
struct BackendTrace {
    id: u32,
    address: IpAddr,
    port: u16,
    /// The pod, if it is on this node.
    pod: Option<String>,
}

/// Describes an attempt.
pub(super) fn explain(
    sender: &Sender,
    destination: &Destination,
    attempt: &Attempt,
    node: &Node,
) -> Trace {
    let path = path(attempt, node);
    let (reason, counters_shared) = reason(path.verdict, &attempt.counted);
    let service = service(destination, attempt, node);
    let backend = backend(attempt, node);
    let masqueraded = attempt.mark & node.masquerade_mark != 0;
    let mut trace = Trace {
        pod: sender.name.clone(),
        protocol: destination.protocol,
        sent: attempt.sent,
        service,
        backend,
        verdict: path.verdict,
        reason: reason.map(Reason::name),
        device: path.device,
        next_hop: path.next_hop,
        masqueraded,
        rewritten: attempt.left.filter(|_| path.verdict != Verdict::Dropped),
        counters: attempt.counted.iter().map(|(reason, n)| (reason.name(), *n)).collect(),
        counters_shared,
        entries_removed: attempt.removed,
        explanation: String::new(),
    };
    trace.explanation = describe(&trace, reason, attempt, node);
    trace
}

struct Path {
    verdict: Verdict,
    device: Option<String>,
    next_hop: Option<IpAddr>,
}

fn path(attempt: &Attempt, node: &Node) -> Path {
    let plain = |verdict| Path { verdict, device: None, next_hop: None };
    let device = |index| node.devices.get(&index).cloned();
    let Some(left) = attempt.left else { return plain(Verdict::Unknown) };
    match attempt.action {
        Action::Stack => plain(Verdict::Stack),
        Action::Drop => plain(Verdict::Dropped),
        Action::Other(_) => plain(Verdict::Unknown),
        // The kernel does not report the target, so it is looked up as the program does.
        Action::Redirect if is_reply(&left, &attempt.sent) => plain(Verdict::Rejected),
        Action::Redirect => {
            match (node.pods.get(&left.destination), node.route(&left.destination)) {
                (Some((ifindex, _)), _) => Path {
                    verdict: Verdict::RedirectedToPod,
                    device: device(*ifindex),
                    next_hop: None,
                },
                (None, Some(route)) => Path {
                    verdict: Verdict::RedirectedToNode,
                    device: device(route.ifindex),
                    next_hop: Some(route.next_hop),
                },
                (None, None) => plain(Verdict::Unknown),
            }
        }
    }
}

/// Whether a packet goes back to the sender of the other.
fn is_reply(left: &Tuple, sent: &Tuple) -> bool {
    left.destination == sent.source && left.source == sent.destination
}

impl Node {
    /// The route to an address, by the longest prefix.
    fn route(&self, address: &IpAddr) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| route.prefix.contains(*address));
        matching.max_by_key(|route| route.prefix.prefix())
    }
}

/// The counter of the reason for a drop or reject, and whether other packets were counted too.
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

fn service(destination: &Destination, attempt: &Attempt, node: &Node) -> Option<ServiceTrace> {
    let service = attempt.service?;
    let Destination { address, port, protocol } = *destination;
    let frontend = Frontend { address, port, protocol, service };
    let mut backends: Vec<_> = node.programmed.eligible_backends(&frontend).collect();
    backends.sort_unstable();
    backends.dedup();
    Some(ServiceTrace {
        name: node.names.of(address, port, protocol).cloned(),
        id: service.id,
        backends: backends.len(),
        affinity_seconds: service.affinity,
    })
}

fn backend(attempt: &Attempt, node: &Node) -> Option<BackendTrace> {
    let id = attempt.backend.filter(|id| *id != 0)?;
    let backend = node.programmed.backends.get(&(attempt.sent.source.is_ipv4(), id))?;
    let pod = node.pods.get(&backend.ip).map(|(_, name)| name.clone());
    Some(BackendTrace { id, address: backend.ip, port: backend.port, pod })
}

fn describe(trace: &Trace, reason: Option<Reason>, attempt: &Attempt, node: &Node) -> String {
    let mut text = describe_destination(trace, node);
    if let Some(BackendTrace { address, port, .. }) = &trace.backend {
        text += &format!(" Its flow gets the backend {}", at(*address, *port));
        match trace.service.as_ref().map(|service| service.backends) {
            Some(1) => text += ", the only one.",
            Some(several) => text += &format!(", one of {several}; other flows can get others."),
            None => text += ".",
        }
    }
    text += " ";
    text += &describe_verdict(trace, reason, attempt, node);
    text
}

fn describe_destination(trace: &Trace, node: &Node) -> String {
    let to = at(trace.sent.destination, trace.sent.destination_port.unwrap_or_default());
    match &trace.service {
        Some(ServiceTrace { name: Some(name), .. }) => format!("{to} is the Service {name}."),
        Some(ServiceTrace { name: None, .. }) => {
            format!("{to} is a Service; its name is unknown without the agent.")
        }
        None => match node.pods.get(&trace.sent.destination) {
            Some((_, pod)) => format!("{to} is the pod {pod} of this node."),
            None => format!("{to} is not a port of a Service."),
        },
    }
}

fn describe_verdict(
    trace: &Trace,
    reason: Option<Reason>,
    attempt: &Attempt,
    node: &Node,
) -> String {
    let device = trace.device.as_deref().unwrap_or("a deleted device");
    match trace.verdict {
        Verdict::RedirectedToPod => {
            format!(
                "The packet goes directly to a pod of this node by {device}, bypassing the stack."
            )
        }
        Verdict::RedirectedToNode => {
            let hop = trace.next_hop.map_or_else(|| UNKNOWN.to_owned(), |hop| hop.to_string());
            format!(
                "The packet goes to another node by {device} and its neighbour {hop}, bypassing the \
                 stack."
            )
        }
        Verdict::Stack => describe_stack(trace, attempt, node),
        Verdict::Dropped => format!(
            "The packet is dropped without a response to the pod: {}.",
            reason.map_or("the reason is unknown", describe_reason)
        ),
        Verdict::Rejected => {
            let how = if trace.protocol == Protocol::TCP {
                "gets a reset (\"connection refused\")"
            } else {
                "gets an ICMP error (\"port unreachable\")"
            };
            format!(
                "The packet is rejected, and the pod {how} at once: {}.",
                reason.map_or("the reason is unknown", describe_reason)
            )
        }
        Verdict::Unknown => "This version does not know the action of the program.".to_owned(),
    }
}

fn describe_stack(trace: &Trace, attempt: &Attempt, node: &Node) -> String {
    if trace.masqueraded {
        return "The packet goes to the node's stack, which masquerades it, so that the reply comes \
                back through the node: the pod is its own backend, or the Service requires it."
            .to_owned();
    }
    let Some(left) = attempt.left else { return String::new() };
    let kind = node.route(&left.destination).map(|route| route.kind);
    let is = |wanted: RouteKind| kind == Some(wanted as u32);
    let how = if node.pods.contains_key(&left.destination) {
        "which bridges it to the pod"
    } else if is(RouteKind::LocalPods) {
        "to this node's pod network, where no pod has that address"
    } else if is(RouteKind::RemotePods) {
        "which routes it to another node's pods"
    } else if is(RouteKind::Node) {
        "which delivers or routes it to a node"
    } else {
        "which routes it out of the cluster, and may masquerade it (--ip-masq)"
    };
    format!("The packet goes to the node's stack, {how}.")
}

/// Describes the reason of a counter.
fn describe_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::RejectedNoBackend => "the Service has no endpoint for it",
        Reason::RejectedNoPort => "the Service of this address has no such port",
        Reason::DroppedLocalPolicy => {
            "the Service may only use endpoints of this node (internalTrafficPolicy: Local), and \
             there are none"
        }
        Reason::DroppedFragment => "the first fragment of its packet was not seen",
        Reason::DroppedMalformed => "its headers are incomplete",
        Reason::DroppedSctpPort => {
            "the backend has another port, and the SCTP checksum cannot be updated"
        }
        Reason::DroppedRewrite => "the kernel refused to rewrite it",
        Reason::DroppedNoSlot => {
            "the backends of the Service are not in the maps: the agent repairs this; if not, check its \
             log"
        }
        Reason::DroppedCollision => "all source ports towards its backend are in use",
        _ => "see the counters",
    }
}

impl Trace {
    /// The text output.
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
        rows.push(("service", self.service.as_ref().map_or_else(none, ServiceTrace::text)));
        rows.push(("backend", self.backend.as_ref().map_or_else(none, BackendTrace::text)));
        rows.push(("verdict", self.verdict_text()));
        rows.push(("rewritten", self.rewritten.as_ref().map_or_else(none, tuple)));
        let counters: Vec<_> =
            self.counters.iter().map(|(reason, by)| format!("{reason} +{by}")).collect();
        rows.push(("counters", if counters.is_empty() { none() } else { counters.join(", ") }));
        let table =
            table(&["TRACE", ""], rows.into_iter().map(|(key, value)| [key.to_owned(), value]));
        let mut text = format!("{}\n\n{table}", self.explanation);
        if self.counters_shared {
            text +=
                "\n\nOther packets were counted meanwhile, so the reason may be of one of them.";
        }
        text += match self.entries_removed {
            0 => "\n\nNo packet was sent, and no flow was created.",
            _ => "\n\nNo packet was sent, and the map entries of the program were removed again.",
        };
        text
    }

    fn verdict_text(&self) -> String {
        let mut text = match self.verdict {
            Verdict::RedirectedToPod => "to a pod, bypassing the stack",
            Verdict::RedirectedToNode => "to a node, bypassing the stack",
            Verdict::Stack => "to the stack",
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

impl ServiceTrace {
    fn text(&self) -> String {
        let name = self.name.as_ref().map_or_else(none, Name::to_string);
        let affinity = match self.affinity_seconds {
            0 => String::new(),
            seconds => format!(", affinity {seconds} s"),
        };
        format!("{name}, {}{affinity}", count(self.backends, "backend"))
    }
}

impl BackendTrace {
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
