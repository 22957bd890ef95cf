//! What lies in the data path's maps, as plain values. Both families are together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_model::Protocol;

/// The id of one port of one Service; never 0 for a port.
pub type ServiceId = u32;
/// The id of a backend: of one endpoint of one port of one Service; never 0.
pub type BackendId = u32;

/// Whose packets a frontend is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Pods and processes of this node.
    Internal,
    /// What comes from outside of the node.
    External,
}

/// What packets to a Service carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// The destination.
    pub ip: IpAddr,
    /// Port and protocol; none stands for all that have no frontend of their own.
    pub port: Option<(u16, Protocol)>,
    /// Who sends them.
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
    /// Its first slot.
    pub offset: u32,
    /// How many there are.
    pub count: u32,
}

impl Range {
    /// The slot after the last one.
    pub const fn end(self) -> u32 {
        self.offset.saturating_add(self.count)
    }

    /// Whether they have a slot in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// What is done with packets to a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrontendValue {
    /// The port of the Service; 0 where there is none.
    pub service: ServiceId,
    /// Its slots; an empty range rejects.
    pub range: Range,
    /// Session affinity in seconds; 0 is none.
    pub affinity: u32,
    /// With an empty range, drop and do not reject.
    pub drop_if_empty: bool,
    /// The backends are those of this node.
    pub local_set: bool,
    /// Masquerade every flow.
    pub masquerade: bool,
}

/// A frontend with its set of backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// What the key leads to.
    pub value: FrontendValue,
    /// What its slots hold.
    pub slots: Arc<[BackendId]>,
}

/// Where packets of a Service go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backend {
    /// The endpoint's address.
    pub ip: IpAddr,
    /// The endpoint's port.
    pub port: u16,
    /// The flows that it has may go on.
    pub serving: bool,
    /// It may get new flows of frontends for the whole cluster.
    pub in_cluster_set: bool,
    /// It may get new flows of frontends for this node.
    pub in_local_set: bool,
}

/// The contents of the maps, or that part of them which belongs to one Service. What lies in slots
/// that no frontend refers to is not part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// Backends.
    pub backends: BTreeMap<BackendId, Backend>,
}
