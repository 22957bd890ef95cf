//! The part of the maps that belongs to one Service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::compile::PortKey;
use crate::tables::{BackendId, FrontendKey, Range, ServiceId, Tables};
use weir_model::Family;

/// Which set of backends: the port, the family, and whether it is the local set.
pub(super) type SetKey = (ServiceId, Family, bool);
/// The slots of a set, and their contents.
pub(super) type Set = (Range, Arc<[BackendId]>);

/// The ids and slots of a Service, and its entries in the maps.
#[derive(Debug, Clone, Default)]
pub(super) struct Allocation {
    pub(super) ports: HashMap<PortKey, ServiceId>,
    pub(super) backends: HashMap<(ServiceId, IpAddr, u16), BackendId>,
    pub(super) sets: BTreeMap<SetKey, Set>,
    pub(super) tables: Tables,
}

impl Allocation {
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.tables.frontends.is_empty()
    }

    /// A copy without some of the frontends, and without the sets that only these lead to.
    pub(super) fn without(&self, excluded: impl Fn(&FrontendKey) -> bool) -> Self {
        let mut kept = self.clone();
        kept.tables.frontends.retain(|key, _| !excluded(key));
        let ranges: BTreeSet<Range> = kept.ranges().collect();
        kept.sets.retain(|_, (range, _)| range.count == 0 || ranges.contains(range));
        kept
    }

    /// The ranges of slots that the frontends use, each once.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range> {
        let ranges = self.tables.frontends.values().map(|frontend| frontend.value.range);
        ranges.filter(|range| range.count > 0).collect::<BTreeSet<_>>().into_iter()
    }

    pub(super) fn service_ids(&self) -> impl Iterator<Item = ServiceId> {
        self.ports.values().copied()
    }

    pub(super) fn has_service_id(&self, id: ServiceId) -> bool {
        self.ports.values().any(|own| *own == id)
    }
}
