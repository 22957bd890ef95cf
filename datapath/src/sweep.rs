//! Removing flows whose time is over.
//!
//! Programs remove flows only for others (see `brief` in the programs). What is closed, or has been
//! silent for longer than [`timeout`](weir_ebpf_common::timeout) allows, is removed from outside.

use weir_ebpf_common::{Flow, FlowKey, timeout};

use crate::maps::{Family, Flows};
use crate::{Error, Pins};

/// The result of looking through the flows of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that are established and not closed.
    pub lasting: usize,
    /// Flows that were removed.
    pub removed: usize,
    /// Flows that the map has room for.
    pub room: usize,
}

/// Removes the flows of both protocols of a family whose time is over at `now`, in seconds of the
/// kernel's monotonic clock. `stream` is for how many seconds a silent stream of datagrams is kept. The
/// results are those of TCP and of datagrams.
///
/// # Errors
/// When a map is not pinned, or the kernel refuses.
pub fn sweep<A: Family>(pins: &Pins, now: u32, stream: u32) -> Result<[Swept; 2], Error> {
    let mut tcp = Flows::<A>::open(pins, A::FLOWS_TCP)?;
    let mut datagrams = Flows::<A>::open(pins, A::FLOWS_DGRAM)?;
    Ok([sweep_map(&mut tcp, true, now, stream)?, sweep_map(&mut datagrams, false, now, stream)?])
}

fn sweep_map<A: Family>(
    flows: &mut Flows<A>,
    is_tcp: bool,
    now: u32,
    stream: u32,
) -> Result<Swept, Error> {
    let mut swept = Swept { room: flows.capacity()? as usize / 2, ..Swept::default() };
    let longest = if is_tcp { timeout::ESTABLISHED } else { stream };
    for (key, flow) in flows.entries()? {
        let is_over = if flow.is_reverse() {
            // It goes with its forward entry. One that has lost it is nobody's.
            now.wrapping_sub(flow.last_seen) > longest
                && flows.get(&flow.forward_key(&key))?.is_none_or(|forward| forward.is_reverse())
        } else {
            now.wrapping_sub(flow.last_seen) > flow.lifetime(is_tcp, stream)
                && is_silent(flows, &key, &flow, now, (is_tcp, stream))?
        };
        if is_over && remove(flows, &key, &flow)? {
            swept.removed += 1;
        } else if !flow.is_reverse() && flow.is_lasting() {
            swept.lasting += 1;
        }
    }
    Ok(swept)
}

/// Whether the backend of a flow was silent for too long too.
fn is_silent<A: Family>(
    flows: &Flows<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
    now: u32,
    (is_tcp, stream): (bool, u32),
) -> Result<bool, Error> {
    let Some(reverse) = flows.get(&flow.reverse_key(key))? else { return Ok(true) };
    // What each side said of itself may be in its own entry only.
    let both = Flow { flags: flow.flags | reverse.flags & Flow::<A>::CLOSED, ..*flow };
    Ok(now.wrapping_sub(reverse.last_seen) > both.lifetime(is_tcp, stream))
}

/// Removes both entries of a flow, unless a packet was seen meanwhile.
fn remove<A: Family>(
    flows: &mut Flows<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> Result<bool, Error> {
    if flows.get(key)? != Some(*flow) {
        return Ok(false);
    }
    flows.remove(key)?;
    if !flow.is_reverse() {
        let reverse_key = flow.reverse_key(key);
        let is_own = |found: Flow<A>| found.is_reverse() && found.forward_key(&reverse_key) == *key;
        if flows.get(&reverse_key)?.is_some_and(is_own) {
            flows.remove(&reverse_key)?;
        }
    }
    Ok(true)
}
