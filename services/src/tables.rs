//! The contents of the data path's maps, as plain values. Both families are in the same tables.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_model::Protocol;

/// The id of one port of one Service; never 0 for a port.
pub type ServiceId = u32;
/// The id of a backend, which is one endpoint of one port of one Service; never 0.
pub type BackendId = u32;

/// Whose packets a frontend is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Packets of pods and processes of this node.
    Internal,
    /// Packets that come from outside of the node.
    External,
}

/// How packets to a Service are recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// The destination address.
    pub ip: IpAddr,
    /// The destination port and protocol. None makes an unknown-port guard: it matches every port
    /// and protocol of the address that has no frontend of its own, and rejects the packets.
    pub port: Option<(u16, Protocol)>,
    /// Where the packets come from.
    pub scope: Scope,
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some((port, protocol)) => write!(f, "{} {protocol}", SocketAddr::new(self.ip, port)),
            None => write!(f, "{}", self.ip),
        }
    }
}

/// A range of slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first slot.
    pub offset: u32,
    /// The number of slots.
    pub count: u32,
}

impl Range {
    /// The slot after the last one.
    pub const fn end(self) -> u32 {
        self.offset.saturating_add(self.count)
    }

    /// Whether the two ranges have a slot in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// How a frontend treats packets. The fields come from the Service's spec and from the agent's
/// options.
///
/// [`compile`](crate::compile) sets them, and [`wire`](crate::wire) encodes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FrontendPolicy {
    /// Session affinity in seconds; 0 turns it off.
    pub affinity: u32,
    /// Without a backend, drop packets instead of rejecting them.
    pub drop_if_empty: bool,
    /// The set of backends is that of this node's endpoints, not that of the cluster's.
    pub local_set: bool,
    /// Masquerade every flow.
    pub masquerade: bool,
}

/// Where a frontend leads. The default value rejects every packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FrontendValue {
    /// The port of the Service; 0 for an unknown-port guard.
    pub service: ServiceId,
    /// The slots with the set of backends. Empty if there is no backend.
    pub range: Range,
    /// How packets are treated.
    pub policy: FrontendPolicy,
}

/// A frontend with its set of backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// The entry in the map.
    pub value: FrontendValue,
    /// The contents of its slots.
    pub slots: Arc<[BackendId]>,
}

/// An endpoint that packets of a Service are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backend {
    /// The endpoint's address.
    pub ip: IpAddr,
    /// The endpoint's port.
    pub port: u16,
    /// Its flows may continue.
    pub serving: bool,
    /// It may get new flows of frontends that choose from the whole cluster.
    pub in_cluster_set: bool,
    /// It may get new flows of frontends that choose from this node's endpoints.
    pub in_local_set: bool,
}

/// The contents of the maps, or the part that belongs to one Service. Slots that no frontend refers
/// to are not included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// Backends.
    pub backends: BTreeMap<BackendId, Backend>,
}
