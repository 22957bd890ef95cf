//! What a pod receives by its node's stack.

use core::borrow::Borrow;

use weir_ebpf_common::{Direction, Hook};

use crate::flow;
use crate::program::Program;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::verdict::{Stop, Verdict};
use crate::view::View;

pub(crate) struct ToPod;

impl Program for ToPod {
    const INLINE: bool = true;

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(skb: Skb) -> Result<Verdict, Stop> {
        let Some((mut view, mut slot)) = V::new(skb) else { return V::not_shown() };
        if !view.read(skb)? {
            return Ok(Verdict::NEXT);
        }
        reverse_nat(skb, &mut view, &mut slot, Hook::ToPod)
    }
}

/// Makes replies come from the Service, and lets everything else pass.
#[inline(always)]
pub(crate) fn reverse_nat<A: HasScratch, V: View<A>>(
    skb: Skb,
    view: &mut V,
    slot: &mut V::Slot,
    hook: Hook,
) -> Result<Verdict, Stop> {
    if !view.has_ports() {
        view.nat_icmp_error(skb, Direction::Reverse, slot)?;
        return Ok(Verdict::NEXT);
    }
    if !view.recall_ports(hook) {
        return Ok(Verdict::NEXT);
    }
    let Some((entry, held)) = flow::of_backend(view, slot) else { return Ok(Verdict::NEXT) };
    let flow = held.borrow();
    flow::track(view, &entry, flow, weir_ebpf_common::Flow::<A>::BACKEND_CLOSED);
    view.remember_ports(hook);
    V::rewritten(view.reverse_nat(skb, flow), Verdict::NEXT)
}
