//! Where a packet goes after its translation: by the stack, or past it.
//!
//! Past it goes a packet whose source and destination are pods, so that either both directions of a
//! flow do or none: conntrack never sees half of one. Fragments go by the stack, which can put them
//! in order, and so does what the next device would find too large, because only the stack tells
//! the sender.

use weir_ebpf_common::header::{ETHERNET, Part};
use weir_ebpf_common::{Endpoint, Flow, Reason, Route, RouteKind, Settings};

use crate::family::Family;
use crate::maps;
use crate::packet::Packet;
use crate::skb::{Refused, Skb};
use crate::verdict::Verdict;

/// Whether a pod's packet may go past the stack, if its destination is a pod too.
#[inline(always)]
pub(crate) fn may_be_fast<A: Family>(skb: Skb, settings: &Settings, packet: &Packet<A>) -> bool {
    settings.has(Settings::FAST_PATH)
        && packet.part == Part::Whole
        && maps::is_of_pod(&packet.key.source, skb.ifindex())
}

/// [`Flow::FAST`] if both ends of a flow from this device are pods.
#[inline(always)]
pub(crate) fn fast_flag<A: Family>(source: &A, destination: &A, ifindex: u32) -> u32 {
    let fast = maps::is_of_pod(source, ifindex) && maps::is_pod(destination);
    if fast { Flow::<A>::FAST } else { 0 }
}

/// To a pod of this node, past the stack.
#[inline(always)]
pub(crate) fn to_local_pod(skb: Skb, endpoint: &Endpoint) -> Result<Verdict, Refused> {
    skb.store(0, &endpoint.mac)?;
    Ok(into_pod(skb, endpoint))
}

/// The same of a packet that has the pod's hardware address.
#[inline(always)]
pub(crate) fn into_pod(skb: Skb, endpoint: &Endpoint) -> Verdict {
    // The kernel has seen it with the gateway's hardware address, and older ones would drop it for
    // that.
    skb.address_to_host();
    Verdict::pod(endpoint.ifindex)
}

/// To a pod of another node past the stack, if it is one.
#[inline(always)]
pub(crate) fn to_remote_pod<A: Family>(skb: Skb, headers: u32, destination: &A) -> Verdict {
    remote_pod(skb, headers, destination).unwrap_or(Verdict::NEXT)
}

/// The same; nothing if it is none. `headers` is the length of all headers from IP on.
#[inline(always)]
pub(crate) fn remote_pod<A: Family>(skb: Skb, headers: u32, destination: &A) -> Option<Verdict> {
    match maps::route(destination) {
        Some(route) if route.is(RouteKind::RemotePods) && route.ifindex != 0 => {
            if fits(skb, headers, route) {
                return Some(Verdict::neighbour(route.ifindex, &route.next_hop));
            }
            maps::count(Reason::StackMtu);
            Some(Verdict::NEXT)
        }
        _ => None,
    }
}

/// Whether the packet, or each of those that it will be cut into, is no larger than a device takes.
#[inline(always)]
fn fits<A: Family>(skb: Skb, headers: u32, route: &Route<A>) -> bool {
    let payload = skb.gso_size();
    let length = if payload == 0 { skb.len() - ETHERNET } else { headers + payload };
    length <= route.mtu
}
