//! What other nodes send to pods of this one.

use core::borrow::Borrow;

use weir_ebpf_common::{Config, Direction};

use crate::program::Program;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::{deliver, flow, maps, source};

pub(crate) struct FromOverlay;

impl Program for FromOverlay {
    const INLINE: bool = true;

    #[inline(always)]
    fn decide_other(skb: Skb) -> Verdict {
        source::decide_tagged(skb)
    }

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(
        skb: Skb,
        config: &Config,
        view: &mut V,
        slot: &mut V::Slot,
    ) -> Result<Verdict, Stop> {
        // They were for the tunnel's packet, and are still there.
        skb.clear_mark(config.admission_mark());
        if !view.read(skb)? {
            return Ok(Verdict::NEXT);
        }
        let is_of_remote_pod = source::check_outside(skb, config, &view.key().source)?;
        if !config.has(Config::FAST_PATH) || !view.is_whole() {
            return Ok(Verdict::NEXT);
        }
        let Some(endpoint) = maps::endpoint(&view.key().destination) else {
            return Ok(Verdict::NEXT);
        };
        if view.has_ports()
            && let Some(held) = flow::of_backend(view, slot)
        {
            // The reply goes as the flow was opened.
            let flow = held.borrow();
            return if deliver::is_fast(config, view, flow) {
                deliver::reply(skb, view, endpoint, flow)
            } else {
                Ok(Verdict::NEXT)
            };
        }
        // A node's own address as source came by the tunnel only because the route back does: the flow
        // began in the stack.
        if !is_of_remote_pod {
            return Ok(Verdict::NEXT);
        }
        if !view.has_ports() {
            view.nat_icmp_error(skb, Direction::Reverse, slot)?;
        }
        let changed = view.set_mac(skb, endpoint.mac);
        V::rewritten(changed, deliver::into_pod(skb, endpoint))
    }
}
