//! What an earlier allocator has left in the maps.

use std::collections::HashSet;

use crate::tables::{FrontendKey, ServiceId, Tables};

/// Entries that were found in the maps and that no Service has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) tables: Tables,
    /// The ids of the frontends' ports.
    pub(super) service_ids: HashSet<ServiceId>,
    /// Frontends whose range of slots is wrong. They are replaced, or deleted when adoption ends.
    pub(super) invalid: Vec<FrontendKey>,
}
