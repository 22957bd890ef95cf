//! Where a packet goes after its translation: by the stack, or past it.
//!
//! Past it goes a packet whose source and destination are pods, so that either both directions of a
//! flow do or none: conntrack never sees half of one. Fragments go by the stack, which can put them
//! in order, and so does what the next device would find too large, because only the stack tells
//! the sender.

use weir_ebpf_common::header::{ETHERNET, Part};
use weir_ebpf_common::{Endpoint, Reason, Route, RouteKind, Settings};

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
        && maps::endpoint(&packet.key.source)
            .is_some_and(|endpoint| endpoint.ifindex == skb.ifindex())
}

/// To a pod of this node, past the stack.
#[inline(always)]
pub(crate) fn to_local_pod(skb: Skb, endpoint: &Endpoint) -> Result<Verdict, Refused> {
    skb.store(0, &endpoint.mac)?;
    // It carries the gateway's hardware address still, and older kernels would drop it for that.
    skb.address_to_host();
    Ok(Verdict::pod(endpoint.ifindex))
}

/// To a pod of another node past the stack, if it is one.
#[inline(always)]
pub(crate) fn to_remote_pod<A: Family>(skb: Skb, packet: &Packet<A>, destination: &A) -> Verdict {
    match maps::route(destination) {
        Some(route) if route.is(RouteKind::RemotePods) && route.ifindex != 0 => {
            if fits(skb, packet, route) {
                return Verdict::neighbour(route.ifindex, &route.next_hop);
            }
            maps::count(Reason::StackMtu);
            Verdict::NEXT
        }
        _ => Verdict::NEXT,
    }
}

/// Whether the packet, or each of those that it will be cut into, is no larger than a device takes.
#[inline(always)]
fn fits<A: Family>(skb: Skb, packet: &Packet<A>, route: &Route<A>) -> bool {
    let payload = skb.gso_size();
    let length = if payload == 0 {
        skb.len() - ETHERNET
    } else {
        packet.transport - ETHERNET + packet.transport_header + payload
    };
    length <= route.mtu
}
