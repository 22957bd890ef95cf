//! What a pod receives by its node's stack.

use core::borrow::Borrow;

use weir_ebpf_common::{Config, Direction, Hook};

use crate::flow::{self, Side};
use crate::program::Program;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::verdict::{Stop, Verdict};
use crate::view::View;

pub(crate) struct ToPod;

impl Program for ToPod {
    const INLINE: bool = true;

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(
        skb: Skb,
        _config: &Config,
        view: &mut V,
        slot: &mut V::Slot,
    ) -> Result<Verdict, Stop> {
        if !view.read(skb)? {
            return Ok(Verdict::NEXT);
        }
        reverse_nat(skb, view, slot, Hook::ToPod)
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
    let Some(held) = flow::of_backend(view, slot) else { return Ok(Verdict::NEXT) };
    let flow = held.borrow();
    flow::track(view, flow, Side::Backend);
    view.remember_ports(hook);
    V::rewritten(view.reverse_nat(skb, flow), Verdict::NEXT)
}
