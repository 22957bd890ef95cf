//! What other nodes send to pods of this one.

use weir_ebpf_common::header::Part;
use weir_ebpf_common::{Direction, Reason, RouteKind, Settings};

use crate::family::Family;
use crate::maps::Scratch;
use crate::skb::Skb;
use crate::verdict::Verdict;
use crate::{deliver, flow, icmp, maps, report, translate};

#[inline(always)]
pub(crate) fn run<A: Family>(skb: Skb) -> Verdict {
    decide::<A>(skb).unwrap_or_else(|reason| {
        report::note::<A>(reason);
        Verdict::drop(reason)
    })
}

#[inline(always)]
fn decide<A: Family>(skb: Skb) -> Result<Verdict, Reason> {
    let fast = maps::settings().is_some_and(|settings| settings.has(Settings::FAST_PATH));
    let Some(Scratch { packet, flow, quoted }) = maps::scratch::<A>() else {
        return Ok(Verdict::NEXT);
    };
    if !fast || !packet.read(skb)? || packet.part != Part::Whole {
        return Ok(Verdict::NEXT);
    }
    let Some(endpoint) = maps::endpoint(&packet.key.destination) else { return Ok(Verdict::NEXT) };
    // A node's own address as source came by the tunnel only because the route back does: the flow
    // began in the stack.
    let from_pod =
        maps::route(&packet.key.source).is_some_and(|route| route.is(RouteKind::RemotePods));
    if !from_pod {
        return Ok(Verdict::NEXT);
    }
    if !packet.has_ports() {
        icmp::translate(skb, packet, Direction::Reverse, (flow, quoted))?;
    } else if flow::of_backend(packet, flow) {
        translate::to_client(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
    }
    deliver::to_local_pod(skb, &endpoint).map_err(|_| Reason::DroppedRewrite)
}
