//! What is known of the node when it is judged. Plain values, whatever they were read from.

use serde::Serialize;
use weir_datapath::AtSockets;

use crate::endpoints::MapEntry;
use crate::leftovers::{Leftover, Owner};
use crate::node::maps::Fill;
use crate::node::programs::Found;

/// Everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) agent: AgentFacts,
    /// Programs are pinned: Weir serves Services on this node.
    pub(crate) serves: bool,
    /// The pinned programs, by name, with the kernel's numbers of them.
    pub(crate) programs: Vec<(&'static str, u32)>,
    /// A path where the maps are not as this tool knows them.
    pub(crate) foreign_maps: Option<String>,
    pub(crate) places: Vec<Place>,
    pub(crate) sockets: Vec<AtSockets>,
    pub(crate) maps: Vec<Fill>,
    pub(crate) pods: Vec<PodFacts>,
    pub(crate) mtu: MtuFacts,
    pub(crate) leftovers: Vec<(Owner, Leftover)>,
    /// What could not be looked at.
    pub(crate) notes: Vec<String>,
}

/// What the agent says.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentFacts {
    pub(crate) address: String,
    /// Why it does not answer.
    pub(crate) silence: Option<String>,
    /// Why it says that it is not alive.
    pub(crate) stuck: Option<String>,
    /// What it waits for.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) version: Option<String>,
    pub(crate) concerns: Vec<Concern>,
    pub(crate) peers: Option<Peers>,
}

/// A condition of readiness that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) condition: String,
    pub(crate) reason: String,
}

/// Something that the agent wants an operator to know.
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

/// A place where a program belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) device: String,
    /// The pod at the other end; nothing for the overlay.
    pub(crate) pod: Option<String>,
    pub(crate) program: &'static str,
    pub(crate) found: Found,
}

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodFacts {
    pub(crate) pod: String,
    pub(crate) interface: String,
    /// Of the host's end; nothing if there is no such link.
    pub(crate) mtu: Option<u32>,
    /// Nothing where nothing is pinned.
    pub(crate) map_entry: Option<MapEntry>,
}

/// Largest packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct MtuFacts {
    /// What the agent wants of pods.
    pub(crate) wanted: Option<u32>,
    /// Of the pods' bridge.
    pub(crate) bridge: Option<u32>,
    /// Of the tunnel's device, if there is one.
    pub(crate) tunnel: Option<Tunnel>,
}

/// The device that leads to other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tunnel {
    pub(crate) device: String,
    pub(crate) mtu: u32,
}
