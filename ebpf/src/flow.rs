//! The flow table: finding flows, and what their packets say of their state.

use core::borrow::Borrow;

use weir_ebpf_common::{Backend, Flow, FlowKey, Reason, protocol, timeout};

use crate::family::Family;
use crate::maps;
use crate::maps::flow_table::{self, FlowEntry};
use crate::view::View;
use crate::work::Work;

/// The id of neither a backend nor a Service: the flow is a direct one.
pub(crate) const DIRECT: u32 = 0;

/// Who sends a packet of a flow.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Client,
    Backend,
}

/// The flow that a backend's packet belongs to, if there is one.
#[inline(always)]
pub(crate) fn of_backend<'a, A: Family, V: View<A>>(
    view: &V,
    slot: &'a mut V::Slot,
) -> Option<V::Held<'a>> {
    let entry = flow_table::flows(view.key()).get(view.key())?;
    let held = V::hold(slot, entry.get());
    (held.borrow().is_reverse() && !view.tcp().opens()).then_some(held)
}

/// Whether a flow goes on with this packet of its client. If it has no connection, its packet is seen.
#[inline(always)]
pub(crate) fn goes_on<A: Family, V: View<A>>(
    view: &V,
    entry: &FlowEntry<A>,
    flow: &Flow<A>,
) -> bool {
    if view.is_tcp() {
        return !view.tcp().opens()
            || flow.opening == view.sequence()
            || !(flow.has_closed() || has_ended(view.key(), flow));
    }
    let now = maps::now();
    let goes_on = !is_idle(view.key(), flow, now) && is_served(flow);
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

/// Has noted in the entries of a flow what a packet of this `side` says of its state. Most say nothing.
#[inline(always)]
pub(crate) fn track<A: Family, V: View<A>>(view: &V, flow: &Flow<A>, side: Side) {
    let tcp = view.tcp();
    let (work, is_news) = match side {
        // A client's packet says something after the first reply.
        Side::Client => {
            let state = flow.flags & (Flow::<A>::ANSWERED | Flow::<A>::ESTABLISHED);
            (Work::of_client(tcp), state == Flow::<A>::ANSWERED)
        }
        Side::Backend => (Work::of_backend(tcp), flow.flags & Flow::<A>::ANSWERED == 0),
    };
    let is_reset = flow.flags & Flow::<A>::RESET != 0;
    if tcp.ends() | is_news | is_reset | (flow.last_seen_tick != maps::tick()) {
        view.defer(work);
    }
}

/// Removes the entries of a flow, by the key of its forward one.
#[inline(always)]
pub(crate) fn remove<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) {
    remove_reverse(key, flow);
    flow_table::flows(key).remove(key);
}

/// Removes the other entry of the flow that has this forward entry at `key`, if it is its own.
#[inline(never)]
pub(crate) fn remove_reverse<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) {
    let reverse = flow.reverse_key(key);
    let flows = flow_table::flows(key);
    if flows.get(&reverse).is_some_and(|found| is_same(&found.get(), &flow.peer_entry(key))) {
        flows.remove(&reverse);
    }
}

/// Whether a connection is over, so that a SYN by its ports with another sequence number opens a new
/// one. As long as it may live its backend is given the SYN, and challenges it (RFC 5961, section 4).
#[inline(never)]
fn has_ended<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    if flow.flags & Flow::<A>::ANSWERED == 0 || !is_served(flow) {
        return true;
    }
    let patience = if flow.flags & Flow::<A>::CLIENT_CLOSED != 0 {
        timeout::FIN_WAIT
    } else {
        timeout::DEAD_PEER
    };
    silence(key, flow, maps::now()) > patience
}

/// Whether a flow has packets yet, of either side. `reverse` is its reverse entry at `key`.
#[inline(always)]
pub(crate) fn is_live<A: Family>(key: &FlowKey<A>, reverse: &Flow<A>) -> bool {
    let forward_key = reverse.forward_key(key);
    let Some(forward) = flow_table::flows(key).get(&forward_key) else { return false };
    let forward = forward.get();
    if !is_same(&forward, &reverse.peer_entry(key)) {
        return false;
    }
    if key.protocol == protocol::TCP {
        return !reverse.is_closed();
    }
    let seen = later(forward.last_seen, reverse.last_seen);
    maps::now().wrapping_sub(seen) < timeout::STREAM
}

/// For how many seconds neither side of the flow with this forward entry was heard.
#[inline(always)]
fn silence<A: Family>(key: &FlowKey<A>, flow: &Flow<A>, now: u32) -> u32 {
    let seen = match flow_table::flows(key).get(&flow.reverse_key(key)) {
        Some(reverse) if reverse.is_peer_of(flow) => later(flow.last_seen, reverse.last_seen()),
        _ => flow.last_seen,
    };
    now.wrapping_sub(seen)
}

/// The later of two times that are close to each other.
#[inline(always)]
const fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a).cast_signed() > 0 { b } else { a }
}

/// Whether both sides of a flow without connection were silent for so long that the client's next
/// packet begins another one.
#[inline(always)]
fn is_idle<A: Family>(key: &FlowKey<A>, flow: &Flow<A>, now: u32) -> bool {
    let stream = maps::config().map_or(0, |config| config.udp_idle);
    let lifetime = flow.lifetime(false, stream);
    now.wrapping_sub(flow.last_seen) > lifetime && is_silent(key, flow, lifetime)
}

#[inline(never)]
fn is_silent<A: Family>(key: &FlowKey<A>, flow: &Flow<A>, lifetime: u32) -> bool {
    silence(key, flow, maps::now()) > lifetime
}

/// Whether a flow's backend may keep it.
#[inline(always)]
fn is_served<A: Family>(flow: &Flow<A>) -> bool {
    flow.backend == DIRECT
        || maps::backend::<A>(flow.backend)
            .is_some_and(|backend| backend.flags & Backend::<A>::SERVING != 0)
}

/// [`Flow::FAST`] if both ends of a flow from this device are pods.
#[inline(always)]
pub(crate) fn fast_flag<A: Family>(source: &A, destination: &A, ifindex: u32) -> u16 {
    let fast = maps::is_of_pod(source, ifindex) && maps::is_pod(destination);
    if fast { Flow::<A>::FAST } else { 0 }
}

/// Whether two entries translate alike.
#[inline(always)]
pub(crate) fn is_same<A: Family>(a: &Flow<A>, b: &Flow<A>) -> bool {
    // Without branches, each of which the verifier would follow.
    a.address.is(&b.address)
        & (a.port.raw() == b.port.raw())
        & (a.nat_port.raw() == b.nat_port.raw())
        & (a.is_reverse() == b.is_reverse())
}
