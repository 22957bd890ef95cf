//! The flow table.

use core::borrow::Borrow;

use weir_ebpf_common::header::TcpFlags;
use weir_ebpf_common::{Backend, Flow, FlowKey, Reason, ephemeral_port, protocol};

use crate::family::Family;
use crate::maps::{self, FlowEntry};
use crate::skb::Skb;
use crate::view::View;

/// The id of neither a backend nor a Service: the flow is a direct one.
const DIRECT: u32 = 0;
/// How many source ports are tried for a flow.
const TRIES: u32 = 8;
/// After so many seconds without a packet a flow without connection gives its ports away.
const IDLE: u32 = 120;

/// The flow that a client's packet belongs to, if there is one that goes on.
#[inline(always)]
pub(crate) fn of_client<'a, A: Family, V: View<A>>(
    view: &V,
    slot: &'a mut V::Slot,
) -> Option<V::Held<'a>> {
    let entry = maps::flow(view.key())?;
    let held = V::hold(slot, entry.get());
    let flow = held.borrow();
    if flow.is_reverse() {
        return None;
    }
    if !goes_on(view, &entry, flow) {
        end(view, flow);
        return None;
    }
    track(view, &entry, flow, Flow::<A>::CLIENT_CLOSED);
    Some(held)
}

/// The flow that a backend's packet belongs to, if there is one, and its entry.
#[inline(always)]
pub(crate) fn of_backend<'a, A: Family, V: View<A>>(
    view: &V,
    slot: &'a mut V::Slot,
) -> Option<(FlowEntry<A>, V::Held<'a>)> {
    let entry = maps::flow(view.key())?;
    let held = V::hold(slot, entry.get());
    (held.borrow().is_reverse() && !view.tcp().opens()).then_some((entry, held))
}

/// Whether a flow goes on with this packet of its client. If it has no connection, its packet is seen.
#[inline(always)]
pub(crate) fn goes_on<A: Family, V: View<A>>(
    view: &V,
    entry: &FlowEntry<A>,
    flow: &Flow<A>,
) -> bool {
    if view.is_tcp() {
        return !view.tcp().opens() || flow.syn_seq == view.sequence();
    }
    let now = maps::now();
    let goes_on = !is_idle(flow, now) && is_served(flow);
    if goes_on {
        entry.see(now);
    }
    goes_on
}

/// Removes the entries of a flow that does not go on.
#[inline(always)]
pub(crate) fn end<A: Family, V: View<A>>(view: &V, ended: &Flow<A>) {
    if !view.is_tcp() && !is_served(ended) {
        maps::count(Reason::FlowMoved);
    }
    remove(view.key(), ended);
}

/// Looks after the entry of a flow that a packet of this `side` belongs to.
#[inline(always)]
pub(crate) fn track<A: Family, V: View<A>>(
    view: &V,
    entry: &FlowEntry<A>,
    flow: &Flow<A>,
    side: u32,
) {
    close(entry, view.tcp(), side);
    keep(entry, view.key(), flow);
}

/// Stores a new flow. If another CPU was faster with a packet of the same, that one counts.
///
/// The replies' key comes first: when another flow that still lives has it, the backend has to see
/// another source port.
#[inline(never)]
pub(crate) fn open<A: Family>(
    skb: Skb,
    key: &FlowKey<A>,
    flow: &mut Flow<A>,
) -> Result<(), Reason> {
    // One after the other and not one within the other: older kernels (6.1) add up more stack.
    if is_connected(skb, key, flow) || !claim_replies(key, flow) {
        claim_other_replies(key, flow)?;
    }
    if !maps::add_flow(key, flow) {
        if let Some(first) = maps::flow(key) {
            let first = first.get();
            if !is_same(&first, flow) {
                remove_reverse(key, flow);
            }
            if first.is_reverse() {
                return Err(Reason::DroppedCollision);
            }
            *flow = first;
            return Ok(());
        }
        maps::count(Reason::FlowNotStored);
    }
    restore(key, flow);
    maps::count(Reason::FlowOpened);
    Ok(())
}

/// Stores a new flow if nothing is in its way; tells whether it did.
#[inline(never)]
pub(crate) fn store<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    let replies = flow.reverse_key(key);
    if !maps::add_flow(&replies, &flow.peer_entry(key)) {
        return false;
    }
    if !maps::add_flow(key, flow) {
        maps::remove_flow(&replies);
        return false;
    }
    // The table forgets first what nobody has looked up. (Not by `restore`: the stack of older kernels,
    // 6.1 among them, has no room for one more call.)
    let _ = maps::flow(&replies);
    maps::count(Reason::FlowOpened);
    true
}

/// Makes the entries of a connection that has ended those of a new one; tells whether it did. It does
/// where both have the same backend by the same ports, as in a client that uses its ports again and
/// again.
#[inline(never)]
pub(crate) fn renew<A: Family>(key: &FlowKey<A>, ended: &Flow<A>, flow: &Flow<A>) -> bool {
    if !is_same(ended, flow) || ended.backend != flow.backend || ended.service != flow.service {
        return false;
    }
    let peer = flow.peer_entry(key);
    let Some(replies) = maps::flow(&flow.reverse_key(key)) else { return false };
    if !is_same(&replies.get(), &peer) {
        return false;
    }
    // Looked up again: what was found before the choice may have become the entry of another flow.
    let Some(entry) = maps::flow(key) else { return false };
    replies.renew(&peer);
    entry.renew(flow);
    maps::count(Reason::FlowOpened);
    true
}

/// Removes the entries of a connection that has ended.
#[inline(always)]
pub(crate) fn remove<A: Family>(key: &FlowKey<A>, ended: &Flow<A>) {
    remove_reverse(key, ended);
    maps::remove_flow(key);
}

/// Whether the client is connected to the flow's backend already, by the same port and without a
/// Service: to the backend both would be one. The table does not know of such connections, but the
/// client's kernel does.
#[inline(never)]
pub(crate) fn is_connected<A: Family>(skb: Skb, key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    if key.protocol != protocol::TCP || flow.backend == DIRECT {
        return false;
    }
    let Some(netns) = maps::endpoint(&key.source).and_then(|endpoint| endpoint.netns()) else {
        return false;
    };
    skb.has_connection((flow.address, flow.port), (key.source, key.source_port), netns)
}

/// Takes the key of the replies for a flow; tells whether it has it. If not, a flow that still lives has.
#[inline(never)]
fn claim_replies<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    let peer = flow.peer_entry(key);
    let replies = flow.reverse_key(key);
    if let Some(found) = maps::flow(&replies) {
        let found = found.get();
        if is_same(&found, &peer) {
            return true;
        }
        if !found.is_reverse() || is_live(&replies, &found) {
            return false;
        }
        maps::remove_flow(&replies);
    }
    if !maps::add_flow(&replies, &peer) {
        maps::count(Reason::FlowNotStored);
    }
    true
}

/// Takes a key for a flow whose own source port is taken.
#[inline(never)]
fn claim_other_replies<A: Family>(key: &FlowKey<A>, flow: &mut Flow<A>) -> Result<(), Reason> {
    if key.protocol == protocol::SCTP {
        // Its checksum covers the ports, and cannot be corrected.
        return Err(Reason::DroppedCollision);
    }
    let peer = flow.peer_entry(key);
    let mut replies = flow.reverse_key(key);
    for _ in 0..TRIES {
        replies.destination_port = ephemeral_port(maps::random());
        if maps::add_flow(&replies, &peer) {
            flow.nat_port = replies.destination_port;
            maps::count(Reason::PortRemapped);
            return Ok(());
        }
    }
    Err(Reason::DroppedCollision)
}

/// Whether something would rewrite the replies to a packet that goes untranslated.
#[inline(always)]
pub(crate) fn has_replies<A: Family>(key: &FlowKey<A>) -> bool {
    maps::flow(&key.reply()).is_some()
}

/// Looks at what would rewrite the replies to a packet that goes untranslated: the leftover of a
/// flow with the same ports is removed. One that still lives makes a flow of the packet too, which
/// needs another source port; tells whether it did.
#[inline(never)]
pub(crate) fn clear_replies<A: Family>(
    (packet, sequence): (&FlowKey<A>, u32),
    ifindex: u32,
    flow: &mut Flow<A>,
) -> bool {
    let key = packet.reply();
    let Some(entry) = maps::flow(&key) else { return false };
    let found = entry.get();
    if !found.is_reverse() {
        return false;
    }
    if !is_live(&key, &found) {
        maps::remove_flow(&key);
        maps::count(Reason::StaleFlowRemoved);
        return false;
    }
    flow.address = packet.destination;
    flow.port = packet.destination_port;
    flow.nat_port = packet.source_port;
    flow.backend = DIRECT;
    flow.service = DIRECT;
    flow.syn_seq = sequence;
    flow.last_seen = maps::now();
    flow.last_checked_tick = maps::tick().wrapping_sub(1);
    flow.flags = fast_flag(&packet.source, &packet.destination, ifindex);
    true
}

/// Whether a flow has packets yet: its other entry leads back to this one, and it is not closed or
/// was seen lately.
#[inline(always)]
fn is_live<A: Family>(key: &FlowKey<A>, reverse: &Flow<A>) -> bool {
    let Some(forward) = maps::flow(&reverse.forward_key(key)) else { return false };
    let forward = forward.get();
    if !is_same(&forward, &reverse.peer_entry(key)) {
        return false;
    }
    if key.protocol == protocol::TCP {
        let closed = Flow::<A>::CLIENT_CLOSED | Flow::<A>::BACKEND_CLOSED;
        return (forward.flags | reverse.flags) & closed != closed;
    }
    maps::now().wrapping_sub(forward.last_seen) < IDLE
}

/// [`Flow::FAST`] if both ends of a flow from this device are pods.
#[inline(always)]
pub(crate) fn fast_flag<A: Family>(source: &A, destination: &A, ifindex: u32) -> u32 {
    let fast = maps::is_of_pod(source, ifindex) && maps::is_pod(destination);
    if fast { Flow::<A>::FAST } else { 0 }
}

/// Whether two entries translate alike.
#[inline(always)]
fn is_same<A: Family>(a: &Flow<A>, b: &Flow<A>) -> bool {
    a.address.is(&b.address)
        && a.port == b.port
        && a.nat_port == b.nat_port
        && a.is_reverse() == b.is_reverse()
}

/// Removes the other entry of the flow that has this forward entry at `key`, if it is its own.
#[inline(never)]
fn remove_reverse<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) {
    let reverse = flow.reverse_key(key);
    if maps::flow(&reverse).is_some_and(|found| is_same(&found.get(), &flow.peer_entry(key))) {
        maps::remove_flow(&reverse);
    }
}

/// Whether a flow without connection was idle for so long that its next packet begins another one.
#[inline(always)]
fn is_idle<A: Family>(flow: &Flow<A>, now: u32) -> bool {
    let idle = maps::config().map_or(0, |config| config.udp_idle);
    idle != 0 && now.wrapping_sub(flow.last_seen) > idle
}

/// Whether a flow's backend may keep it.
#[inline(always)]
fn is_served<A: Family>(flow: &Flow<A>) -> bool {
    flow.backend == DIRECT
        || maps::backend::<A>(flow.backend)
            .is_some_and(|backend| backend.flags & Backend::<A>::SERVING != 0)
}

/// Notes that a side has closed its connection.
#[inline(always)]
fn close<A: Family>(entry: &FlowEntry<A>, tcp: TcpFlags, side: u32) {
    if tcp.resets() {
        entry.set(Flow::<A>::CLIENT_CLOSED | Flow::<A>::BACKEND_CLOSED);
    } else if tcp.closes() {
        entry.set(side);
    }
}

/// Looks after a flow once a tick: notes that it was seen, and makes its other entry if the table
/// has forgotten that. Looking it up also keeps it as young as this one. What the table forgets is
/// what nobody has looked up while so many other flows began as it has room for, which takes longer
/// than a tick.
#[inline(always)]
fn keep<A: Family>(entry: &FlowEntry<A>, key: &FlowKey<A>, flow: &Flow<A>) {
    let tick = maps::tick();
    if flow.last_checked_tick != tick {
        entry.check(tick, maps::now());
        restore(key, flow);
    }
}

#[inline(never)]
fn restore<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) {
    let peer = if flow.is_reverse() { flow.forward_key(key) } else { flow.reverse_key(key) };
    if maps::flow(&peer).is_none() && maps::add_flow(&peer, &flow.peer_entry(key)) {
        maps::count(Reason::FlowRestored);
    }
}
