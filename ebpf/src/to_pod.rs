//! What a pod receives by its node's stack.

use weir_ebpf_common::{Flow, Hook, Reason};

use crate::family::Family;
use crate::packet::Packet;
use crate::skb::Skb;
use crate::verdict::Verdict;
use crate::{flow, translate};

#[inline(always)]
pub(crate) fn run<A: Family>(skb: Skb) -> Verdict<A> {
    decide(skb).into()
}

#[inline(always)]
fn decide<A: Family>(skb: Skb) -> Result<Verdict<A>, Reason> {
    let mut packet = Packet::<A>::empty();
    if !packet.read(skb)? || !packet.has_ports() || !packet.recall_ports(Hook::ToPod) {
        return Ok(Verdict::Next);
    }
    let mut flow = Flow::default();
    if flow::of_backend(&packet, &mut flow) {
        packet.remember_ports(Hook::ToPod);
        translate::to_client(skb, &packet, &flow).map_err(|_| Reason::DroppedRewrite)?;
    }
    Ok(Verdict::Next)
}
