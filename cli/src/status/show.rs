//! The output of `weir status`.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_datapath::common::Reason;

use super::facts::{Facts, MtuFacts, Peers, Refused, Tunnel, VERSION};
use super::judge::Problem;
use crate::node::maps::WhenFull;
use crate::node::programs::{Found, compare};
use crate::output::{UNKNOWN, count, table};

/// The output.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    healthy: bool,
    problems: &'a [Problem],
    /// What could not be inspected.
    notes: &'a [String],
    versions: Versions<'a>,
    peers: Option<Peers>,
    /// Packets to the tunnel's port that were dropped. `None` without a tunnel.
    refused: Option<Refused>,
    pods: usize,
    /// Pods that may send with addresses of others.
    routing: &'a [String],
    /// Whether Weir serves Services on this node.
    serves: bool,
    attachments: Vec<Attachment<'a>>,
    maps: Vec<Map>,
    mtu: &'a MtuFacts,
    counters: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Versions<'a> {
    tool: &'static str,
    /// `None` if the agent does not respond.
    agent: Option<&'a str>,
    /// The IDs of the pinned programs.
    programs: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Serialize)]
struct Attachment<'a> {
    /// The link, or `sockets` for the node's processes.
    device: &'a str,
    pod: Option<&'a str>,
    program: &'static str,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
struct Map {
    map: String,
    entries: usize,
    capacity: u32,
    percent: u64,
    /// Whether a full map evicts its oldest entry.
    forgets: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        facts: &'a Facts,
        problems: &'a [Problem],
        counters: &[(Reason, u64)],
    ) -> Self {
        let at_devices = facts.attachments.iter().map(|at| Attachment {
            device: &at.device,
            pod: at.pod.as_deref(),
            program: at.program,
            found: at.found.clone(),
        });
        let at_sockets = facts.sockets.iter().filter(|found| found.pinned.is_some());
        let at_sockets = at_sockets.map(|found| Attachment {
            device: "sockets",
            pod: None,
            program: found.name,
            found: compare(found.attached, found.pinned),
        });
        let maps = facts.maps.iter().map(|fill| Map {
            map: fill.map.to_lowercase(),
            entries: fill.entries,
            capacity: fill.capacity,
            percent: (fill.entries as u64 * 100) / u64::from(fill.capacity.max(1)),
            forgets: fill.when_full == WhenFull::Evicts,
        });
        let sockets = facts.sockets.iter().filter_map(|found| Some((found.name, found.pinned?)));
        Self {
            healthy: problems.is_empty(),
            problems,
            notes: &facts.notes,
            versions: Versions {
                tool: VERSION,
                agent: facts.agent.version.as_deref(),
                programs: facts.programs.iter().copied().chain(sockets).collect(),
            },
            peers: facts.agent.peers,
            refused: facts.agent.refused,
            pods: facts.pods.len(),
            routing: &facts.routing,
            serves: facts.serves,
            attachments: at_devices.chain(at_sockets).collect(),
            maps: maps.collect(),
            mtu: &facts.mtu,
            counters: counters.iter().map(|(reason, n)| (reason.name(), *n)).collect(),
        }
    }

    /// The text output: problems first, then the state.
    pub(super) fn text(&self) -> String {
        let mut parts = vec![self.verdict()];
        parts.push(self.summary());
        if !self.attachments.is_empty() {
            parts.push(self.attachments());
        }
        if !self.maps.is_empty() {
            parts.push(self.maps());
        }
        let counted: Vec<_> = self.counters.iter().filter(|(_, packets)| **packets > 0).collect();
        if !counted.is_empty() {
            let rows = counted.iter().map(|(reason, n)| [(**reason).to_owned(), n.to_string()]);
            parts.push(table(&["COUNTER", "PACKETS"], rows));
        }
        parts.join("\n\n")
    }

    fn verdict(&self) -> String {
        let mut text = if self.healthy {
            "healthy".to_owned()
        } else {
            format!("unhealthy: {}", count(self.problems.len(), "problem"))
        };
        if let [only] = self.problems {
            text = format!("unhealthy: {}\n  do: {}", only.message, only.remedy);
        } else {
            for problem in self.problems {
                text += &format!("\n- {}\n  do: {}", problem.message, problem.remedy);
            }
        }
        for note in self.notes {
            text += &format!("\nnot inspected: {note}");
        }
        text
    }

    fn summary(&self) -> String {
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        let peers =
            self.peers.map(|Peers { known, programmed }| format!("{programmed} of {known}"));
        let MtuFacts { wanted, bridge, tunnel } = self.mtu;
        let number = |mtu: &Option<u32>| or_unknown(mtu.map(|mtu| mtu.to_string()));
        let rows = [
            (
                "versions",
                format!("weir {}, agent {}", VERSION, self.versions.agent.unwrap_or(UNKNOWN)),
            ),
            ("services", if self.serves { "served" } else { "not served by Weir" }.to_owned()),
            ("peers", or_unknown(peers)),
            ("pods", self.pods()),
            (
                "mtu",
                format!(
                    "pods {}, bridge {}, tunnel {}",
                    number(wanted),
                    number(bridge),
                    or_unknown(
                        tunnel.as_ref().map(|Tunnel { device, mtu }| format!("{mtu} ({device})"))
                    ),
                ),
            ),
        ];
        let refused = self.refused.map(|Refused { from_pods, from_others }| {
            let dropped = format!("{from_pods} from pods, {from_others} from others");
            ("tunnel", format!("packets dropped that no peer has sent: {dropped}"))
        });
        let rows = rows.into_iter().chain(refused);
        table(&["NODE", ""], rows.map(|(key, value)| [key.to_owned(), value]))
    }

    fn pods(&self) -> String {
        let mut text = self.pods.to_string();
        if !self.routing.is_empty() {
            text += &format!(", of which route for others: {}", self.routing.join(", "));
        }
        text
    }

    fn attachments(&self) -> String {
        let rows = self.attachments.iter().map(|attachment| {
            [
                attachment.device.to_owned(),
                attachment.pod.unwrap_or(UNKNOWN).to_owned(),
                attachment.program.to_owned(),
                attachment.found.to_string(),
            ]
        });
        table(&["DEVICE", "POD", "PROGRAM", "ATTACHED"], rows)
    }

    fn maps(&self) -> String {
        let rows = self.maps.iter().map(|map| {
            [
                map.map.clone(),
                map.entries.to_string(),
                map.capacity.to_string(),
                format!("{} %", map.percent),
                if map.forgets { "evicts oldest" } else { "refuses new" }.to_owned(),
            ]
        });
        table(&["MAP", "ENTRIES", "CAPACITY", "FULL", "WHEN FULL"], rows)
    }
}
