//! Flows that do not last, and how the table forgets them.
//!
//! A flow lasts from when both sides have spoken until both have closed it
//! ([`Flow::is_lasting`](weir_ebpf_common::Flow::is_lasting)). Anybody can begin flows at any rate, and
//! so the table keeps few of the others. Each of them is in a ring: where the ring comes round, the
//! flow that was there is removed, unless it lasts by now. However many flows begin, those that last
//! keep their entries, and the table has as many others as the rings have slots.
//!
//! The agent removes what has been silent for too long. Nothing depends on that but the length of the
//! table: it is full only of flows that last.

use weir_ebpf_common::{Flow, FlowKey, Reason, protocol};

use crate::maps;
use crate::maps::flow_table;
use crate::maps::rings::{self, BriefSlot};
use crate::scratch::{HasScratch, Keys};

/// The ring of flows that nobody has replied in.
pub(crate) const UNANSWERED: u32 = 0;
/// The ring of flows that are closed, and of datagrams that have a reply and are no stream yet. What
/// has no reply cannot push them out.
pub(crate) const ANSWERED: u32 = 1;

/// So many flows that are added after one that had no room make room for one more each.
pub(crate) const DEBT: u32 = 64;

/// Makes room in a ring, and adds the flow whose forward key is the packet's if it `is_new` there.
#[inline(always)]
pub(crate) fn turn<A: HasScratch>(keys: &mut Keys<A>, ring: u32, is_new: bool) {
    if let Some(slot) = forget_next(keys, ring, rings::own_lane())
        && is_new
    {
        slot.set(&keys.packet);
    }
    // What can be forgotten may be in either ring, and in the lane of any CPU.
    let owed = rings::owed_room();
    if owed != 0 {
        forget_next(keys, owed & 1, rings::any_lane());
    }
}

/// Removes the flow of the next slot of a ring, if there is one and it does not last. The slot.
#[inline(never)]
fn forget_next<A: HasScratch>(keys: &mut Keys<A>, ring: u32, lane: u32) -> Option<BriefSlot<A>> {
    let slot = rings::next_brief::<A>(keys.packet.protocol, ring, lane)?;
    keys.forgotten = slot.get();
    forget(&keys.forgotten, ring, &mut keys.peer);
    Some(slot)
}

#[inline(always)]
fn forget<A: HasScratch>(key: &FlowKey<A>, ring: u32, peer: &mut FlowKey<A>) {
    let flows = flow_table::flows(key);
    let Some(entry) = flows.get(key) else { return };
    let flow = entry.borrow();
    let in_other_ring = (ring == UNANSWERED)
        & (key.protocol != protocol::TCP)
        & (flow.flags & Flow::<A>::ANSWERED != 0);
    if flow.is_reverse() | flow.is_lasting() | in_other_ring {
        return;
    }
    flow.write_peer_key(key, peer);
    if let Some(reverse) = flows.get(peer)
        && reverse.is_peer_of(flow)
    {
        flows.remove(peer);
    }
    flows.remove(key);
    maps::count(Reason::FlowForgotten);
}
