//! The flow table, and the fields of its entries that change.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::maps::HashMap;
use weir_ebpf_common::{Flow, FlowKey, protocol};

use super::Mapped;

/// An entry of the flow table. When it is removed, what it points to may be taken for another flow at
/// once, which at worst costs the packet that it is read for.
pub(crate) struct FlowEntry<A>(*mut Flow<A>);

impl<A: Mapped> FlowEntry<A> {
    #[inline(always)]
    pub(crate) fn get(&self) -> Flow<A> {
        // SAFETY: the kernel keeps the memory of a map's values for as long as the map is used.
        unsafe { *self.0 }
    }

    /// When a packet was last seen.
    #[inline(always)]
    pub(crate) fn last_seen(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).last_seen }
    }

    /// The entry where it is, for who needs little of it.
    #[inline(always)]
    pub(crate) fn borrow(&self) -> &Flow<A> {
        // SAFETY: as above.
        unsafe { &*self.0 }
    }

    /// See [`Flow::flags`].
    #[inline(always)]
    pub(crate) fn flags(&self) -> u16 {
        // SAFETY: as above.
        unsafe { (*self.0).flags }
    }

    /// See [`Flow::opening`].
    #[inline(always)]
    pub(crate) fn opening(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).opening }
    }

    /// The ids of the Service and of the backend.
    #[inline(always)]
    pub(crate) fn ids(&self) -> (u32, u32) {
        // SAFETY: as above.
        unsafe { ((*self.0).service, (*self.0).backend) }
    }

    /// Whether it is the other entry of a flow, if it was found by that one's key.
    #[inline(always)]
    pub(crate) fn is_peer_of(&self, flow: &Flow<A>) -> bool {
        // SAFETY: as above.
        let own = unsafe { &*self.0 };
        (own.is_reverse() != flow.is_reverse())
            & (own.backend == flow.backend)
            & (own.service == flow.service)
    }

    /// Says that a packet was seen, without making the cache line dirty for every packet.
    #[inline(always)]
    pub(crate) fn see(&self, now: u32) {
        // SAFETY: as above; a concurrent write of another CPU writes the same.
        unsafe {
            if (*self.0).last_seen != now {
                (*self.0).last_seen = now;
            }
        }
    }

    /// Says in which tick and when a packet was seen.
    #[inline(always)]
    pub(crate) fn touch(&self, tick: u16, now: u32) {
        // SAFETY: as above; a concurrent write of another CPU writes the same or a time close to it.
        unsafe {
            (*self.0).last_seen_tick = tick;
            (*self.0).last_seen = now;
        }
    }

    /// Says by which pod's device its packets come.
    #[inline(always)]
    pub(crate) fn set_ifindex(&self, ifindex: u32) {
        // SAFETY: as above; one pod has the address that its packets come from.
        unsafe {
            if (*self.0).ifindex != ifindex {
                (*self.0).ifindex = ifindex;
            }
        }
    }

    /// See [`Flow::ifindex`].
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).ifindex }
    }

    /// Makes it the entry of a flow that is as this one but younger.
    #[inline(always)]
    pub(crate) fn renew(&self, flow: &Flow<A>) {
        // SAFETY: as above; what another CPU reads meanwhile is of the one flow or of the other.
        unsafe {
            (*self.0).opening = flow.opening;
            (*self.0).last_seen = flow.last_seen;
            (*self.0).last_seen_tick = flow.last_seen_tick;
            (*self.0).ifindex = flow.ifindex;
            (*self.0).flags = flow.flags;
        }
    }

    /// Takes flags away and sets others.
    #[inline(always)]
    pub(crate) fn change(&self, over: u16, flags: u16) {
        // SAFETY: as for `set`.
        unsafe { (*self.0).flags = (*self.0).flags & !over | flags }
    }

    #[inline(always)]
    pub(crate) fn set(&self, flags: u16) {
        // SAFETY: as above. A bit that two CPUs write at once can be lost: then the flow stays in its
        // state until its next packet, or is kept longer than it had to be.
        unsafe {
            if (*self.0).flags & flags != flags {
                (*self.0).flags |= flags;
            }
        }
    }
}

/// The flow table of a protocol. Who looks at it more than once keeps it, so that the verifier need not
/// follow both of them at each look.
#[derive(Clone, Copy)]
pub(crate) struct Flows<A: 'static>(&'static HashMap<FlowKey<A>, Flow<A>>);

/// The flow table that a key belongs to.
#[inline(always)]
pub(crate) fn flows<A: Mapped>(key: &FlowKey<A>) -> Flows<A> {
    Flows(if key.protocol == protocol::TCP { A::MAPS.flows_tcp } else { A::MAPS.flows_dgram })
}

impl<A: Mapped> Flows<A> {
    #[inline(always)]
    pub(crate) fn get(self, key: &FlowKey<A>) -> Option<FlowEntry<A>> {
        self.0.get_ptr_mut(key).map(FlowEntry)
    }

    /// Adds an entry, unless there is one; tells whether it was added.
    #[inline(always)]
    pub(crate) fn add(self, key: &FlowKey<A>, flow: &Flow<A>) -> bool {
        self.0.insert(key, flow, BPF_NOEXIST.into()).is_ok()
    }

    #[inline(always)]
    pub(crate) fn remove(self, key: &FlowKey<A>) {
        // Another CPU was faster if it fails.
        let _ = self.0.remove(key);
    }
}
