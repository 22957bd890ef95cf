//! What a pod receives by its node's stack.

use weir_ebpf_common::{Direction, Hook, Reason};

use crate::family::Family;
use crate::maps::Scratch;
use crate::skb::Skb;
use crate::verdict::Verdict;
use crate::{flow, icmp, maps, report, translate};

#[inline(always)]
pub(crate) fn run<A: Family>(skb: Skb) -> Verdict {
    decide::<A>(skb).unwrap_or_else(|reason| {
        report::note::<A>(reason);
        Verdict::drop(reason)
    })
}

#[inline(always)]
fn decide<A: Family>(skb: Skb) -> Result<Verdict, Reason> {
    let Some(Scratch { packet, flow, quoted }) = maps::scratch::<A>() else {
        return Ok(Verdict::NEXT);
    };
    if !packet.read(skb)? {
        return Ok(Verdict::NEXT);
    }
    if !packet.has_ports() {
        icmp::translate(skb, packet, Direction::Reverse, (flow, quoted))?;
        return Ok(Verdict::NEXT);
    }
    if !packet.recall_ports(Hook::ToPod) {
        return Ok(Verdict::NEXT);
    }
    if flow::of_backend(packet, flow) {
        packet.remember_ports(Hook::ToPod);
        translate::to_client(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
    }
    Ok(Verdict::NEXT)
}
