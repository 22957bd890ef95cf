//! The facts about the node, as plain values.

use serde::Serialize;
use weir_datapath::AtSockets;
use weir_node::forwarding::Fault;

use crate::endpoints::MapEntry;
use crate::leftovers::{Leftover, Owner};
use crate::node::maps::Fill;
use crate::node::programs::Found;

/// The version of this tool.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) agent: AgentFacts,
    /// Programs are pinned: Weir serves Services on this node.
    pub(crate) serves: bool,
    /// The names and IDs of the pinned programs.
    pub(crate) programs: Vec<(&'static str, u32)>,
    /// The path of a map that this version of the tool expects and that does not exist.
    pub(crate) foreign_maps: Option<String>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) sockets: Vec<AtSockets>,
    pub(crate) maps: Vec<Fill>,
    pub(crate) pods: Vec<PodFacts>,
    /// The pods that may send with addresses of others; an interface without a record by its number.
    pub(crate) routing: Vec<String>,
    pub(crate) mtu: MtuFacts,
    /// The faults of the bridge's FDB entries.
    pub(crate) forwarding: Vec<Fault>,
    pub(crate) leftovers: Vec<(Owner, Leftover)>,
    /// What could not be inspected.
    pub(crate) notes: Vec<String>,
}

/// What the agent reports.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentFacts {
    pub(crate) address: String,
    /// Why it does not respond.
    pub(crate) silence: Option<String>,
    /// Why it reports that it is not alive.
    pub(crate) stuck: Option<String>,
    /// The conditions that it waits for.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) version: Option<String>,
    pub(crate) concerns: Vec<Concern>,
    pub(crate) peers: Option<Peers>,
    pub(crate) refused: Option<Refused>,
}

/// A condition of readiness that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) condition: String,
    pub(crate) reason: String,
}

/// A problem that the agent reports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Concern {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Peers {
    pub(crate) known: u64,
    pub(crate) programmed: u64,
}

/// Packets to the tunnel's port that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    /// Of this node's pods.
    pub(crate) from_pods: u64,
    /// Of all others that are not peers.
    pub(crate) from_others: u64,
}

/// A hook of a device that must have a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) device: String,
    /// The pod of the interface; `None` for the overlay and the uplink.
    pub(crate) pod: Option<String>,
    pub(crate) program: &'static str,
    pub(crate) found: Found,
}

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodFacts {
    pub(crate) pod: String,
    pub(crate) interface: String,
    /// MTU of the host interface; `None` if it does not exist.
    pub(crate) mtu: Option<u32>,
    /// `None` if nothing is pinned.
    pub(crate) map_entry: Option<MapEntry>,
}

/// MTUs in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct MtuFacts {
    /// Of pods, as the agent has decided.
    pub(crate) wanted: Option<u32>,
    /// Of the pods' bridge.
    pub(crate) bridge: Option<u32>,
    /// Of the tunnel device, if there is one.
    pub(crate) tunnel: Option<Tunnel>,
}

/// The tunnel device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tunnel {
    pub(crate) device: String,
    pub(crate) mtu: u32,
}
