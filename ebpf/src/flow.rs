//! The flow table.

use weir_ebpf_common::header::TcpFlags;
use weir_ebpf_common::{Backend, Flow, FlowKey, Reason, ephemeral_port, protocol};

use crate::deliver;
use crate::family::Family;
use crate::maps::{self, FlowEntry};
use crate::packet::Packet;
use crate::skb::Skb;

/// The id of neither a backend nor a Service: the flow is a direct one.
const DIRECT: u32 = 0;
/// How many source ports are tried for a flow.
const TRIES: u32 = 8;
/// After so many seconds without a packet a flow without connection gives its ports away.
const IDLE: u32 = 120;

/// Finds the flow that a client's packet belongs to; tells whether there is one that goes on.
#[inline(never)]
pub(crate) fn of_client<A: Family>(packet: &Packet<A>, flow: &mut Flow<A>) -> bool {
    let Some(entry) = maps::flow(&packet.key) else { return false };
    *flow = entry.get();
    if flow.is_reverse() {
        return false;
    }
    let ended = if packet.key.protocol == protocol::TCP {
        packet.tcp.opens() && flow.opening != packet.sequence
    } else {
        !goes_on(&entry, flow)
    };
    if ended {
        if packet.key.protocol != protocol::TCP && !is_served(flow) {
            maps::count(Reason::FlowMoved);
        }
        remove(&packet.key, flow);
        return false;
    }
    close(&entry, packet.tcp, Flow::<A>::CLIENT_CLOSED);
    keep(&entry, &packet.key, flow);
    true
}

/// Finds the flow that a backend's packet belongs to; tells whether there is one.
#[inline(never)]
pub(crate) fn of_backend<A: Family>(packet: &Packet<A>, flow: &mut Flow<A>) -> bool {
    if packet.key.protocol == protocol::TCP && packet.tcp.opens() {
        return false;
    }
    let Some(entry) = maps::flow(&packet.key) else { return false };
    *flow = entry.get();
    if !flow.is_reverse() {
        return false;
    }
    close(&entry, packet.tcp, Flow::<A>::BACKEND_CLOSED);
    keep(&entry, &packet.key, flow);
    true
}

/// Stores a new flow. If another CPU was faster with a packet of the same, that one counts.
///
/// The answers' key comes first: when another flow that still lives has it, the backend has to see
/// another source port.
#[inline(never)]
pub(crate) fn open<A: Family>(
    skb: Skb,
    key: &FlowKey<A>,
    flow: &mut Flow<A>,
) -> Result<(), Reason> {
    // One after the other and not one within the other: older kernels (6.1) add up more stack.
    if is_connected(skb, key, flow) || !claim_answers(key, flow) {
        claim_other_answers(key, flow)?;
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
    let answers = flow.reverse_key(key);
    if !maps::add_flow(&answers, &flow.twin(key)) {
        return false;
    }
    if !maps::add_flow(key, flow) {
        maps::remove_flow(&answers);
        return false;
    }
    // The table forgets first what nobody has looked up. (Not by `restore`: the stack of older kernels,
    // 6.1 among them, has no room for one more call.)
    let _ = maps::flow(&answers);
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
    let twin = flow.twin(key);
    let Some(answers) = maps::flow(&flow.reverse_key(key)) else { return false };
    if !is_same(&answers.get(), &twin) {
        return false;
    }
    // Looked up again: what was found before the choice may have become the entry of another flow.
    let Some(entry) = maps::flow(key) else { return false };
    answers.renew(&twin);
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

/// Takes the key of the answers for a flow; tells whether it has it. If not, a flow that still lives has.
#[inline(never)]
fn claim_answers<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    let twin = flow.twin(key);
    let answers = flow.reverse_key(key);
    if let Some(found) = maps::flow(&answers) {
        let found = found.get();
        if is_same(&found, &twin) {
            return true;
        }
        if !found.is_reverse() || is_live(&answers, &found) {
            return false;
        }
        maps::remove_flow(&answers);
    }
    if !maps::add_flow(&answers, &twin) {
        maps::count(Reason::FlowNotStored);
    }
    true
}

/// Takes a key for a flow whose own source port is taken.
#[inline(never)]
fn claim_other_answers<A: Family>(key: &FlowKey<A>, flow: &mut Flow<A>) -> Result<(), Reason> {
    if key.protocol == protocol::SCTP {
        // Its checksum covers the ports, and cannot be corrected.
        return Err(Reason::DroppedCollision);
    }
    let twin = flow.twin(key);
    let mut answers = flow.reverse_key(key);
    for _ in 0..TRIES {
        answers.destination_port = ephemeral_port(maps::random());
        if maps::add_flow(&answers, &twin) {
            flow.client_port = answers.destination_port;
            maps::count(Reason::PortRemapped);
            return Ok(());
        }
    }
    Err(Reason::DroppedCollision)
}

/// Whether something would rewrite the answers to a packet that goes untranslated.
#[inline(always)]
pub(crate) fn has_answers<A: Family>(key: &FlowKey<A>) -> bool {
    maps::flow(&key.answer()).is_some()
}

/// Looks at what would rewrite the answers to a packet that goes untranslated: the leftover of a
/// flow with the same ports is removed. One that still lives makes a flow of the packet too, with
/// another source port; tells whether it did.
#[inline(never)]
pub(crate) fn clear_answers<A: Family>(
    packet: &Packet<A>,
    ifindex: u32,
    flow: &mut Flow<A>,
) -> Result<bool, Reason> {
    let key = packet.key.answer();
    let Some(entry) = maps::flow(&key) else { return Ok(false) };
    let found = entry.get();
    if !found.is_reverse() {
        return Ok(false);
    }
    if !is_live(&key, &found) {
        maps::remove_flow(&key);
        maps::count(Reason::StaleFlowRemoved);
        return Ok(false);
    }
    flow.address = packet.key.destination;
    flow.port = packet.key.destination_port;
    flow.client_port = packet.key.source_port;
    flow.backend = DIRECT;
    flow.service = DIRECT;
    flow.opening = packet.sequence;
    flow.seen = maps::now();
    flow.checked = maps::tick().wrapping_sub(1);
    flow.flags = deliver::fast_flag(&packet.key.source, &packet.key.destination, ifindex);
    Ok(true)
}

/// Whether a flow has packets yet: its other entry leads back to this one, and it is not closed or
/// was seen lately.
#[inline(always)]
fn is_live<A: Family>(key: &FlowKey<A>, reverse: &Flow<A>) -> bool {
    let Some(forward) = maps::flow(&reverse.forward_key(key)) else { return false };
    let forward = forward.get();
    if !is_same(&forward, &reverse.twin(key)) {
        return false;
    }
    if key.protocol == protocol::TCP {
        let closed = Flow::<A>::CLIENT_CLOSED | Flow::<A>::BACKEND_CLOSED;
        return (forward.flags | reverse.flags) & closed != closed;
    }
    maps::now().wrapping_sub(forward.seen) < IDLE
}

/// Whether two entries translate alike.
#[inline(always)]
fn is_same<A: Family>(a: &Flow<A>, b: &Flow<A>) -> bool {
    a.address.is(&b.address)
        && a.port == b.port
        && a.client_port == b.client_port
        && a.is_reverse() == b.is_reverse()
}

/// Removes the other entry of the flow that has this forward entry at `key`, if it is its own.
#[inline(never)]
fn remove_reverse<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) {
    let reverse = flow.reverse_key(key);
    if maps::flow(&reverse).is_some_and(|found| is_same(&found.get(), &flow.twin(key))) {
        maps::remove_flow(&reverse);
    }
}

/// Whether a flow without connection was idle for so long that its next packet begins another one.
#[inline(always)]
fn is_idle<A: Family>(flow: &Flow<A>, now: u32) -> bool {
    let idle = maps::settings().map_or(0, |settings| settings.udp_idle);
    idle != 0 && now.wrapping_sub(flow.seen) > idle
}

/// Whether a flow's backend may keep it.
#[inline(always)]
fn is_served<A: Family>(flow: &Flow<A>) -> bool {
    flow.backend == DIRECT
        || maps::backend::<A>(flow.backend)
            .is_some_and(|backend| backend.flags & Backend::<A>::SERVING != 0)
}

/// Whether a flow without connection goes on; if it does, its packet is seen.
#[inline(always)]
pub(crate) fn goes_on<A: Family>(entry: &FlowEntry<A>, flow: &Flow<A>) -> bool {
    let now = maps::now();
    let goes_on = !is_idle(flow, now) && is_served(flow);
    if goes_on {
        entry.see(now);
    }
    goes_on
}

/// Notes that a side has closed its connection.
#[inline(always)]
pub(crate) fn close<A: Family>(entry: &FlowEntry<A>, tcp: TcpFlags, side: u32) {
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
pub(crate) fn keep<A: Family>(entry: &FlowEntry<A>, key: &FlowKey<A>, flow: &Flow<A>) {
    let tick = maps::tick();
    if flow.checked != tick {
        entry.check(tick, maps::now());
        restore(key, flow);
    }
}

#[inline(never)]
fn restore<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) {
    let twin = if flow.is_reverse() { flow.forward_key(key) } else { flow.reverse_key(key) };
    if maps::flow(&twin).is_none() && maps::add_flow(&twin, &flow.twin(key)) {
        maps::count(Reason::FlowRestored);
    }
}
