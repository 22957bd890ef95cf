//! Session affinity: the backend that a client had last.

use weir_ebpf_common::{Affinity, AffinityKey, FlowKey};

use crate::family::Family;
use crate::maps;
use crate::maps::flow_table::FlowEntry;

/// Notes the backend of an established flow, whose client nobody has vouched for before.
#[inline(always)]
pub(crate) fn note<A: Family>(entry: &FlowEntry<A>, key: &FlowKey<A>) {
    let (service, backend) = entry.ids();
    let client = AffinityKey { client: key.source, service };
    maps::set_affinity(&client, Affinity { backend, used: maps::now() });
}
