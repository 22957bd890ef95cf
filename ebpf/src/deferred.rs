//! What is left to do for the flow table when the verdict on a packet stands.
//!
//! The first packets of a flow and the last change its state, in both entries and in the rings of
//! [`crate::brief`]. That can wait until the packet is through, and does: the verifier follows it once
//! for each program and family, and not from each place of a decision that finds such a packet.

use weir_ebpf_common::header::TcpFlags;
use weir_ebpf_common::{Flow, FlowKey, STREAM_AFTER, protocol};

use crate::maps;
use crate::maps::flow_table::{self, FlowEntry};
use crate::maps::rings;
use crate::scratch::{HasScratch, Keys, keys};
use crate::work::Work;
use crate::{affinity, brief};

/// Leaves work of the packet with this key to be done by [`run`].
#[inline(always)]
pub(crate) fn defer<A: HasScratch>(key: &FlowKey<A>, work: Work) {
    if let Some(keys) = keys::<A>() {
        keys.packet = *key;
        keys.work = work;
    }
}

/// Does what a packet has left to do.
#[inline(never)]
pub(crate) fn run<A: HasScratch>() {
    let Some(keys) = keys::<A>() else { return };
    // One call for all kinds of work, which the verifier follows once.
    let (ring, is_new) = match keys.work.kind {
        Work::OPENED => (brief::UNANSWERED, true),
        Work::REFUSED => {
            rings::owe_room(brief::DEBT);
            (brief::UNANSWERED, false)
        }
        _ => {
            if !note(keys) {
                return;
            }
            (brief::ANSWERED, true)
        }
    };
    brief::turn(keys, ring, is_new);
}

/// Notes when a packet was seen, and what it says of its flow. Whether the flow lasts no longer, or is an
/// answered one that does not last yet: then its forward key is the packet's now.
#[inline(always)]
fn note<A: HasScratch>(keys: &mut Keys<A>) -> bool {
    let Keys { packet: key, work, peer, .. } = keys;
    let flows = flow_table::flows(key);
    let Some(entry) = flows.get(key) else { return false };
    entry.touch(maps::tick(), maps::now());
    let (flags, tcp) = (entry.flags(), work.tcp);
    let is_client = work.kind == Work::OF_CLIENT;
    let is_reset = flags & Flow::<A>::RESET != 0;
    let said = if tcp.resets() {
        // Nobody else can send as a pod.
        let is_outside = is_client && entry.ifindex() == 0;
        if is_outside { Flow::<A>::CLOSED | Flow::<A>::RESET } else { Flow::<A>::CLOSED }
    } else if is_reset && !tcp.closes() && !tcp.opens() {
        0
    } else if tcp.closes() {
        if is_client { Flow::<A>::CLIENT_CLOSED } else { Flow::<A>::BACKEND_CLOSED }
    } else if is_client {
        if flags & (Flow::<A>::ANSWERED | Flow::<A>::ESTABLISHED) == Flow::<A>::ANSWERED
            && goes_on(&entry, key, tcp)
        {
            entry.set(Flow::<A>::ESTABLISHED);
            if flags & Flow::<A>::NOTE_AFFINITY != 0 {
                affinity::note(&entry, key);
            }
        }
        return false;
    } else {
        Flow::<A>::ANSWERED
    };
    if flags & said == said && said != 0 {
        return false;
    }
    // What goes on has not ended.
    let over = if said == 0 { Flow::<A>::CLOSED | Flow::<A>::RESET } else { 0 };
    entry.change(over, said);
    let flow = entry.borrow();
    flow.write_peer_key(key, peer);
    if let Some(found) = flows.get(peer)
        && found.is_peer_of(flow)
    {
        found.change(over, said);
    }
    if flow.is_reverse() {
        *key = *peer;
    }
    flow.is_closed() || said == Flow::<A>::ANSWERED && key.protocol != protocol::TCP
}

/// Whether a client's packet after a reply shows that it goes on. TCP does so at once, datagrams some
/// time later.
#[inline(always)]
fn goes_on<A: HasScratch>(entry: &FlowEntry<A>, key: &FlowKey<A>, tcp: TcpFlags) -> bool {
    if key.protocol == protocol::TCP {
        !tcp.opens()
    } else {
        maps::now().wrapping_sub(entry.opening()) >= STREAM_AFTER
    }
}
