//! The operations that bring the maps to their desired contents, in a safe order.
//!
//! New backends come first, then slots, then the frontends that lead there. So a packet always
//! finds the complete old set of backends or the complete new one. This requires that slots which a
//! frontend in the maps uses are not written, and the [allocator](super::allocator) ensures that.
//! Entries that no frontend leads to any more are changed and deleted last.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::tables::{Backend, BackendId, FrontendKey, FrontendValue, Tables};

/// An operation on the maps. Operations are idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or replaces a backend.
    PutBackend(BackendId, Backend),
    /// Writes consecutive slots, beginning with this one.
    WriteSlots(u32, Arc<[BackendId]>),
    /// Creates or replaces a frontend.
    PutFrontend(FrontendKey, FrontendValue),
    /// Deletes a frontend.
    DeleteFrontend(FrontendKey),
    /// Deletes a backend.
    DeleteBackend(BackendId),
}

impl Op {
    /// The kind of operation, as a label for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PutBackend(..) => "backend_put",
            Self::WriteSlots(..) => "slots_write",
            Self::PutFrontend(..) => "frontend_put",
            Self::DeleteFrontend(_) => "frontend_delete",
            Self::DeleteBackend(_) => "backend_delete",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutBackend(id, backend) => {
                write!(f, "backend {id} is {}", SocketAddr::new(backend.ip, backend.port))
            }
            Self::WriteSlots(offset, ids) => write!(f, "{} slots from {offset} on", ids.len()),
            Self::PutFrontend(key, value) => {
                write!(f, "frontend {key} has {} backends", value.range.count)
            }
            Self::DeleteFrontend(key) => write!(f, "no frontend {key}"),
            Self::DeleteBackend(id) => write!(f, "no backend {id}"),
        }
    }
}

/// The operations that lead from the observed contents to the desired contents.
pub fn diff(desired: &Tables, observed: &Tables) -> Vec<Op> {
    let mut ops = Vec::new();
    let changed = || {
        desired.backends.iter().filter_map(|(id, backend)| {
            let old = observed.backends.get(id);
            (old != Some(backend)).then_some((*id, *backend, old))
        })
    };
    // A backend with a wrong address misdirects packets, so it is replaced first. Other changes
    // wait.
    let same_address = |backend: &Backend, old: Option<&Backend>| {
        old.is_some_and(|old| (old.ip, old.port) == (backend.ip, backend.port))
    };
    let new = changed().filter(|(_, backend, old)| !same_address(backend, *old));
    ops.extend(new.map(|(id, backend, _)| Op::PutBackend(id, backend)));

    let current: HashMap<u32, &Arc<[BackendId]>> = observed
        .frontends
        .values()
        .map(|frontend| (frontend.value.range.offset, &frontend.slots))
        .filter(|(_, slots)| !slots.is_empty())
        .collect();
    let mut written = HashSet::new();
    for frontend in desired.frontends.values().filter(|frontend| !frontend.slots.is_empty()) {
        let offset = frontend.value.range.offset;
        if current.get(&offset) != Some(&&frontend.slots) && written.insert(offset) {
            ops.push(Op::WriteSlots(offset, Arc::clone(&frontend.slots)));
        }
    }

    for (key, frontend) in &desired.frontends {
        let old = observed.frontends.get(key);
        if old.is_none_or(|old| old.value != frontend.value) {
            ops.push(Op::PutFrontend(*key, frontend.value));
        }
    }
    let removed = observed.frontends.keys().filter(|key| !desired.frontends.contains_key(key));
    ops.extend(removed.map(|key| Op::DeleteFrontend(*key)));

    let changed = changed().filter(|(_, backend, old)| same_address(backend, *old));
    ops.extend(changed.map(|(id, backend, _)| Op::PutBackend(id, backend)));
    let removed = observed.backends.keys().filter(|id| !desired.backends.contains_key(id));
    ops.extend(removed.map(|id| Op::DeleteBackend(*id)));
    ops
}

#[cfg(test)]
pub(crate) mod tests;
