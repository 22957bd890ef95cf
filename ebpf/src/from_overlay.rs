//! What other nodes send to pods of this one.

use core::borrow::Borrow;

use weir_ebpf_common::{Config, Direction};

use crate::program::Program;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::{deliver, flow, maps};

pub(crate) struct FromOverlay;

impl Program for FromOverlay {
    const INLINE: bool = true;

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(skb: Skb) -> Result<Verdict, Stop> {
        let Some(config) = maps::config() else { return Ok(Verdict::NEXT) };
        if !config.has(Config::FAST_PATH) {
            return Ok(Verdict::NEXT);
        }
        let Some((mut view, mut slot)) = V::new(skb) else { return V::not_shown() };
        if !view.read(skb)? {
            return Ok(Verdict::NEXT);
        }
        if !view.is_whole() {
            return Ok(Verdict::NEXT);
        }
        let Some(endpoint) = maps::endpoint(&view.key().destination) else {
            return Ok(Verdict::NEXT);
        };
        if view.has_ports()
            && let Some((entry, held)) = flow::of_backend(&view, &mut slot)
        {
            // The reply goes as the flow was opened.
            let flow = held.borrow();
            return if deliver::is_fast(config, &view, flow) {
                deliver::reply(skb, &view, endpoint, (&entry, flow))
            } else {
                Ok(Verdict::NEXT)
            };
        }
        // A node's own address as source came by the tunnel only because the route back does: the flow
        // began in the stack.
        if !maps::is_remote_pod(&view.key().source) {
            return Ok(Verdict::NEXT);
        }
        if !view.has_ports() {
            view.nat_icmp_error(skb, Direction::Reverse, &mut slot)?;
        }
        let changed = view.set_mac(skb, endpoint.mac);
        V::rewritten(changed, deliver::into_pod(skb, endpoint))
    }
}
