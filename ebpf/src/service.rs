//! The choice of a backend for a new flow.

use weir_ebpf_common::{
    Affinity, AffinityKey, Backend, Flow, FlowKey, Reason, Scope, Service, ServiceKey, choose_slot,
    protocol,
};

use crate::family::Family;
use crate::{maps, opening};

/// The Service that a packet from this `scope` is for.
#[inline(always)]
pub(crate) fn of<A: Family>(key: &FlowKey<A>, scope: Scope) -> Option<&'static Service> {
    let FlowKey { destination, destination_port, protocol, .. } = *key;
    maps::service(&ServiceKey::new(destination, destination_port, protocol, scope))
}

/// Whether the destination is a Service's address for packets from this `scope`.
#[inline(always)]
pub(crate) fn has_address<A: Family>(key: &FlowKey<A>, scope: Scope) -> bool {
    maps::is_service(&key.destination, scope)
}

/// Makes a flow of the packet with this key and sequence number, which is not stored yet. It is
/// [`Flow::FAST`] if the source is that of a pod of this node.
#[inline(never)]
pub(crate) fn choose<A: Family>(
    key: &FlowKey<A>,
    sequence: u32,
    (service, affinity): (&Service, NewAffinity),
    flow: &mut Flow<A>,
) -> Result<(), Reason> {
    let (id, backend) = backend(&key.source, service, maps::now(), affinity)?;
    if key.protocol == protocol::SCTP && backend.port != key.destination_port {
        return Err(Reason::DroppedSctpPort);
    }
    flow.address = backend.address;
    flow.port = backend.port;
    flow.nat_port = key.source_port;
    flow.backend = id;
    flow.service = service.id;
    opening::fill_times(key, sequence, flow);
    flow.ifindex = maps::device_of(&key.source);
    flow.flags = if flow.ifindex != 0 && maps::is_pod(&flow.address) { Flow::<A>::FAST } else { 0 };
    if service.affinity != 0 && affinity == NewAffinity::WhenEstablished {
        flow.flags |= Flow::<A>::NOTE_AFFINITY;
    }
    if service.has(Service::MASQUERADE) {
        flow.flags |= Flow::<A>::MASQUERADED;
    }
    Ok(())
}

/// When session affinity is noted for a new flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewAffinity {
    /// At once: the client's address is its own.
    AtOnce,
    /// When the flow is established: until then the address may be forged, and anybody could have as
    /// many clients as they like.
    WhenEstablished,
}

/// A backend for a new flow of a client.
#[inline(always)]
pub(crate) fn backend<A: Family>(
    client: &A,
    service: &Service,
    now: u32,
    note: NewAffinity,
) -> Result<(u32, Backend<A>), Reason> {
    let key = AffinityKey { client: *client, service: service.id };
    if service.affinity != 0
        && let Some(affinity) = maps::affinity(&key)
        && affinity.holds(now, service.affinity)
        && let Some(backend) = maps::backend::<A>(affinity.backend)
        && backend.flags & service.set() != 0
    {
        if note == NewAffinity::AtOnce {
            maps::set_affinity(&key, Affinity { used: now, ..affinity });
        }
        return Ok((affinity.backend, backend));
    }
    let index = choose_slot(maps::random(), service.count);
    let id = maps::slot(service.offset + index).ok_or(Reason::DroppedNoSlot)?;
    let backend = maps::backend(id).ok_or(Reason::DroppedNoSlot)?;
    if service.affinity != 0 && note == NewAffinity::AtOnce {
        maps::set_affinity(&key, Affinity { backend: id, used: now });
    }
    Ok((id, backend))
}
