//! Adding flows to the table.

use weir_ebpf_common::{Flow, FlowKey, Reason, ephemeral_port, protocol};

use crate::family::Family;
use crate::flow::{DIRECT, fast_flag, is_live, is_same, remove_reverse};
use crate::maps;
use crate::maps::flow_table;
use crate::skb::Skb;

/// How many source ports are tried for a flow.
const TRIES: u32 = 8;

/// Adds a new flow. If another CPU was faster with a packet of the same, that one counts.
///
/// The replies' key comes first: when another flow that still lives has it, the backend has to see
/// another source port.
#[inline(never)]
pub(crate) fn open<A: Family>(
    skb: Skb,
    key: &FlowKey<A>,
    flow: &mut Flow<A>,
) -> Result<(), Reason> {
    let flows = flow_table::flows(key);
    // One after the other and not one within the other: older kernels (6.1) add up more stack.
    if is_connected(skb, key, flow) || !claim_replies(key, flow) {
        claim_other_replies(key, flow)?;
    }
    if !flows.add(key, flow) {
        if let Some(first) = flows.get(key) {
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
        remove_reverse(key, flow);
        return Err(Reason::DroppedTableFull);
    }
    // Without its other entry it has no replies: the table has no room.
    if flows.get(&flow.reverse_key(key)).is_none() {
        flows.remove(key);
        return Err(Reason::DroppedTableFull);
    }
    maps::count(Reason::FlowOpened);
    Ok(())
}

/// Adds a new flow if nothing is in its way; tells whether it did.
#[inline(never)]
pub(crate) fn store<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    let flows = flow_table::flows(key);
    let replies = flow.reverse_key(key);
    if !flows.add(&replies, &reverse_entry(key, flow)) {
        return false;
    }
    if !flows.add(key, flow) {
        flows.remove(&replies);
        return false;
    }
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
    let flows = flow_table::flows(key);
    let peer = reverse_entry(key, flow);
    let Some(replies) = flows.get(&flow.reverse_key(key)) else { return false };
    if !is_same(&replies.get(), &peer) {
        return false;
    }
    // Looked up again: what was found before the choice may have become the entry of another flow.
    let Some(entry) = flows.get(key) else { return false };
    replies.renew(&peer);
    entry.renew(flow);
    maps::count(Reason::FlowOpened);
    true
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

/// The reverse entry of a new flow.
#[inline(always)]
fn reverse_entry<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> Flow<A> {
    Flow { ifindex: maps::device_of(&flow.address), ..flow.peer_entry(key) }
}

/// Takes the key of the replies for a flow; tells whether it has it. If not, a flow that still lives has.
#[inline(never)]
fn claim_replies<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    let flows = flow_table::flows(key);
    let peer = reverse_entry(key, flow);
    let replies = flow.reverse_key(key);
    if let Some(found) = flows.get(&replies) {
        let found = found.get();
        if is_same(&found, &peer) {
            return true;
        }
        if !found.is_reverse() || is_live(&replies, &found) {
            return false;
        }
        flows.remove(&replies);
    }
    flows.add(&replies, &peer);
    true
}

/// Takes a key for a flow whose own source port is taken.
#[inline(never)]
fn claim_other_replies<A: Family>(key: &FlowKey<A>, flow: &mut Flow<A>) -> Result<(), Reason> {
    if key.protocol == protocol::SCTP {
        // Its checksum covers the ports, and cannot be corrected.
        return Err(Reason::DroppedCollision);
    }
    let flows = flow_table::flows(key);
    let peer = reverse_entry(key, flow);
    let mut replies = flow.reverse_key(key);
    for _ in 0..TRIES {
        replies.destination_port = ephemeral_port(maps::random());
        if flows.add(&replies, &peer) {
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
    flow_table::flows(key).get(&key.reply()).is_some()
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
    let flows = flow_table::flows(packet);
    let Some(entry) = flows.get(&key) else { return false };
    let found = entry.get();
    if !found.is_reverse() {
        return false;
    }
    if !is_live(&key, &found) {
        flows.remove(&key);
        maps::count(Reason::StaleFlowRemoved);
        return false;
    }
    flow.address = packet.destination;
    flow.port = packet.destination_port;
    flow.nat_port = packet.source_port;
    flow.backend = DIRECT;
    flow.service = DIRECT;
    fill_times(packet, sequence, flow);
    flow.ifindex = ifindex;
    flow.flags = fast_flag(&packet.source, &packet.destination, ifindex);
    true
}

/// Notes when a new flow was opened, and by which SYN.
#[inline(always)]
pub(crate) fn fill_times<A: Family>(key: &FlowKey<A>, sequence: u32, flow: &mut Flow<A>) {
    flow.last_seen = maps::now();
    flow.last_seen_tick = maps::tick();
    flow.opening = if key.protocol == protocol::TCP { sequence } else { flow.last_seen };
}
