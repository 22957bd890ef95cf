//! The flow table.

use weir_ebpf_common::{Direction, Flow, FlowKey, Reason, protocol};

use crate::family::Family;
use crate::maps::{self, FlowEntry};
use crate::packet::Packet;

/// Finds the flow that a client's packet belongs to; tells whether there is one that goes on.
#[inline(never)]
pub(crate) fn of_client<A: Family>(packet: &Packet<A>, flow: &mut Flow<A>) -> bool {
    let Some(entry) = maps::flow(&packet.key) else { return false };
    *flow = entry.get();
    let ended = if packet.key.protocol == protocol::TCP {
        packet.tcp.opens() && flow.opening != packet.sequence
    } else {
        has_no_backend(&entry, flow)
    };
    if ended {
        maps::remove_flow(&flow.reverse_key(&packet.key));
        maps::remove_flow(&packet.key);
        return false;
    }
    close(&entry, packet, Flow::<A>::CLIENT_CLOSED);
    restore(&flow.reverse_key(&packet.key), &packet.key, flow);
    true
}

/// Finds the flow that a backend's packet belongs to; tells whether there is one.
#[inline(never)]
pub(crate) fn of_backend<A: Family>(packet: &Packet<A>, flow: &mut Flow<A>) -> bool {
    if packet.key.protocol == protocol::TCP && packet.tcp.opens() {
        return false;
    }
    let key = FlowKey { direction: Direction::Reverse as u8, ..packet.key };
    let Some(entry) = maps::flow(&key) else { return false };
    *flow = entry.get();
    close(&entry, packet, Flow::<A>::BACKEND_CLOSED);
    restore(&flow.forward_key(&key), &key, flow);
    true
}

/// Stores a new flow. If another CPU was faster with a packet of the same, that one counts.
#[inline(never)]
pub(crate) fn open<A: Family>(packet: &Packet<A>, flow: &mut Flow<A>) {
    if !maps::add_flow(&packet.key, flow) {
        if let Some(first) = maps::flow(&packet.key) {
            *flow = first.get();
            restore(&flow.reverse_key(&packet.key), &packet.key, flow);
            return;
        }
        maps::count(Reason::FlowNotStored);
    }
    let reverse = flow.reverse_key(&packet.key);
    maps::remove_flow(&reverse);
    if !maps::add_flow(&reverse, &flow.twin(&packet.key)) {
        maps::count(Reason::FlowNotStored);
    }
    maps::count(Reason::FlowOpened);
}

/// Removes what would rewrite the answers to a packet that goes untranslated: the leftover of a
/// flow with the same ports.
#[inline(never)]
pub(crate) fn clear_answers<A: Family>(packet: &Packet<A>) {
    let key = packet.key.answer();
    if let Some(entry) = maps::flow(&key) {
        maps::remove_flow(&entry.get().forward_key(&key));
        maps::remove_flow(&key);
        maps::count(Reason::StaleFlowRemoved);
    }
}

/// Whether a flow without connection has lost its backend, or was idle for so long that it is
/// another one.
#[inline(always)]
fn has_no_backend<A: Family>(entry: &FlowEntry<A>, flow: &Flow<A>) -> bool {
    let now = maps::now();
    let idle = maps::settings().map_or(0, |settings| settings.udp_idle);
    if idle != 0 && now.wrapping_sub(flow.seen) > idle {
        return true;
    }
    let serving = maps::backend::<A>(flow.backend)
        .is_some_and(|backend| backend.flags & weir_ebpf_common::Backend::<A>::SERVING != 0);
    if !serving {
        maps::count(Reason::FlowMoved);
        return true;
    }
    entry.see(now);
    false
}

/// Notes that a side has closed its connection.
#[inline(always)]
fn close<A: Family>(entry: &FlowEntry<A>, packet: &Packet<A>, side: u32) {
    if packet.tcp.resets() {
        entry.set(Flow::<A>::CLIENT_CLOSED | Flow::<A>::BACKEND_CLOSED);
    } else if packet.tcp.closes() {
        entry.set(side);
    }
}

/// Makes the other entry of a flow, if the table has forgotten it. Looking it up also keeps it as
/// young as this one.
#[inline(always)]
fn restore<A: Family>(twin: &FlowKey<A>, key: &FlowKey<A>, flow: &Flow<A>) {
    if maps::flow(twin).is_none() && maps::add_flow(twin, &flow.twin(key)) {
        maps::count(Reason::FlowRestored);
    }
}
