//! Where a packet goes after its translation: by the stack, or bypassing it.
//!
//! A packet whose source and destination are pods bypasses the stack, so that either both directions
//! of a flow do or neither does: conntrack never sees half of one. Fragments go by the stack, which
//! can put them in order, and so does what the next device would find too large, because only the
//! stack tells the sender.

use weir_ebpf_common::header::ETHERNET;
use weir_ebpf_common::{Config, Endpoint, Flow, Reason, Route, RouteKind};

use crate::family::Family;
use crate::flow::{self, Side};
use crate::maps;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::source::Source;
use crate::verdict::{Stop, Verdict};
use crate::view::View;

/// Whether the packet of a pod that is its `source` may bypass the stack, if its destination is a pod
/// too.
#[inline(always)]
pub(crate) fn may_be_fast<A: Family, V: View<A>>(
    config: &Config,
    view: &V,
    source: Source,
) -> bool {
    config.has(Config::FAST_PATH) && view.is_whole() && source.is_own()
}

/// Whether a flow's packet bypasses the stack. That was settled when the flow was opened
/// ([`Flow::FAST`]), for both directions.
#[inline(always)]
pub(crate) fn is_fast<A: Family, V: View<A>>(config: &Config, view: &V, flow: &Flow<A>) -> bool {
    config.has(Config::FAST_PATH) && view.is_whole() && flow.flags & Flow::<A>::FAST != 0
}

/// A reply to a pod of this node, bypassing the stack: it is translated here because it does not pass
/// `to_pod`.
#[inline(always)]
pub(crate) fn reply<A: HasScratch, V: View<A>>(
    skb: Skb,
    view: &V,
    endpoint: &Endpoint,
    flow: &Flow<A>,
) -> Result<Verdict, Stop> {
    flow::track(view, flow, Side::Backend);
    if view.set_mac(skb, endpoint.mac).is_err() {
        return V::rewrite_failed();
    }
    let verdict = into_pod(skb, endpoint);
    V::rewritten(view.reverse_nat(skb, flow), verdict)
}

/// To a pod of this node, bypassing the stack. The packet has the pod's MAC address.
#[inline(always)]
pub(crate) fn into_pod(skb: Skb, endpoint: &Endpoint) -> Verdict {
    // The kernel has seen it with the gateway's MAC address, and older ones would drop it for that.
    skb.set_packet_host();
    Verdict::pod(endpoint.ifindex)
}

/// To a pod of another node bypassing the stack, or by the stack if it is not one.
#[inline(always)]
pub(crate) fn to_remote_pod<A: Family>(skb: Skb, headers: u32, destination: &A) -> Verdict {
    remote_pod(skb, headers, destination).unwrap_or(Verdict::NEXT)
}

/// The same; nothing if it is not one. `headers` is the length of all headers from IP on.
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
