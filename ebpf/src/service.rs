//! The choice of a backend for a new flow.

use weir_ebpf_common::{
    Affinity, AffinityKey, Backend, Flow, FlowKey, Reason, Scope, Service, ServiceKey, choose_slot,
    protocol,
};

use crate::family::Family;
use crate::{flow, maps};

/// The Service that a packet from this `scope` is for.
#[inline(always)]
pub(crate) fn of<A: Family>(key: &FlowKey<A>, scope: Scope) -> Option<&'static Service> {
    let FlowKey { destination, destination_port, protocol, .. } = *key;
    maps::service(&ServiceKey::new(destination, destination_port, protocol, scope))
}

/// Whether the destination is a Service's address for packets from this `scope`.
#[inline(always)]
pub(crate) fn has_address<A: Family>(key: &FlowKey<A>, scope: Scope) -> bool {
    maps::service(&ServiceKey::unknown_port_guard(key.destination, scope)).is_some()
}

/// Makes a flow of the packet with this key and sequence number, which is not stored yet.
#[inline(never)]
pub(crate) fn choose<A: Family>(
    key: &FlowKey<A>,
    (sequence, ifindex): (u32, u32),
    service: &Service,
    flow: &mut Flow<A>,
) -> Result<(), Reason> {
    let now = maps::now();
    let (id, backend) = backend(&key.source, service, now)?;
    if key.protocol == protocol::SCTP && backend.port != key.destination_port {
        return Err(Reason::DroppedSctpPort);
    }
    flow.address = backend.address;
    flow.port = backend.port;
    flow.nat_port = key.source_port;
    flow.backend = id;
    flow.service = service.id;
    flow.syn_seq = sequence;
    flow.last_seen = now;
    flow.last_checked_tick = maps::tick().wrapping_sub(1);
    flow.flags = flow::fast_flag(&key.source, &flow.address, ifindex);
    if service.has(Service::MASQUERADE) {
        flow.flags |= Flow::<A>::MASQUERADED;
    }
    Ok(())
}

/// A backend for a new flow of a client.
#[inline(always)]
pub(crate) fn backend<A: Family>(
    client: &A,
    service: &Service,
    now: u32,
) -> Result<(u32, Backend<A>), Reason> {
    let key = AffinityKey { client: *client, service: service.id };
    if service.affinity != 0
        && let Some(affinity) = maps::affinity(&key)
        && affinity.holds(now, service.affinity)
        && let Some(backend) = maps::backend::<A>(affinity.backend)
        && backend.flags & service.set() != 0
    {
        maps::set_affinity(&key, Affinity { used: now, ..affinity });
        return Ok((affinity.backend, backend));
    }
    let index = choose_slot(maps::random(), service.count);
    let id = maps::slot(service.offset + index).ok_or(Reason::DroppedNoSlot)?;
    let backend = maps::backend(id).ok_or(Reason::DroppedNoSlot)?;
    if service.affinity != 0 {
        maps::set_affinity(&key, Affinity { backend: id, used: now });
    }
    Ok((id, backend))
}
