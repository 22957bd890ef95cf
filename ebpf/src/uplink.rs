//! Clients outside of the cluster that reach cluster IPs by this node: what they send is translated
//! where it comes in by an uplink, and the replies where they go out again.
//!
//! Between, the node's stack forwards it and gives it an address of the node, by a mark, so that
//! replies come back this way. Most of what passes an uplink is nothing of this: the tunnel's own
//! packets are let go at once, those of other nodes with a mark that admits them, and the rest after a
//! look at the flow table and one at the Services.

use core::borrow::{Borrow, BorrowMut};

use weir_ebpf_common::{Config, Direction, Flow, Hook, Reason, RouteKind, Scope, Service};

use crate::flow::Side;
use crate::maps::flow_table;
use crate::program::Program;
use crate::scratch::HasScratch;
use crate::service::NewAffinity;
use crate::skb::Skb;
use crate::to_pod::reverse_nat;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::{flow, inline, maps, report, service, source};

/// Frontends are written for this scope only, and clients outside of the node share them.
const SCOPE: Scope = Scope::Internal;

/// What comes in.
pub(crate) struct FromUplink;

impl Program for FromUplink {
    const INLINE: bool = false;
    const OPENS: bool = true;

    #[inline(always)]
    fn view<A: HasScratch, V: View<A>>(skb: Skb, config: &Config) -> Option<(V, V::Slot)> {
        if skb.vlan() != 0 {
            return None;
        }
        // What is not admitted here is as any other packet, and the kernel's rules decide whether the tunnel
        // gets it. A pod may have the same port open.
        if let Some((source, destination)) = inline::to_port::<A>(skb, config.tunnel_port)
            && is_from_peer(skb, &source)
            && maps::device_of(&destination) == 0
        {
            skb.mark(config.admission_mark());
            return None;
        }
        V::new(skb)
    }

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(
        skb: Skb,
        config: &Config,
        view: &mut V,
        slot: &mut V::Slot,
    ) -> Result<Verdict, Stop> {
        if !is_read(skb, view) {
            return Ok(Verdict::NEXT);
        }
        source::check_outside(skb, config, &view.key().source)?;
        if !view.has_ports() {
            if view.nat_icmp_error(skb, Direction::Forward, slot)?.is_some() {
                skb.mark(config.masquerade_mark);
            }
            return Ok(Verdict::NEXT);
        }
        if !view.recall_ports(Hook::FromUplink) {
            let is_service = service::has_address(view.key(), SCOPE);
            return if is_service {
                Err(Reason::DroppedFragment.into())
            } else {
                Ok(Verdict::NEXT)
            };
        }
        if let Some(entry) = flow_table::flows(view.key()).get(view.key()) {
            let held = V::hold(slot, entry.get());
            let flow: &Flow<A> = held.borrow();
            if !flow.is_reverse() {
                if flow.ifindex != 0 {
                    // A pod has opened it.
                    return Err(Reason::DroppedSource.into());
                }
                if flow::goes_on(view, &entry, flow) {
                    flow::track(view, flow, Side::Client);
                    return to_backend(skb, config, view, flow);
                }
                view.end(flow)?;
            }
        }
        let Some(service) = service::of(view.key(), SCOPE) else {
            if view.may_open() && service::has_address(view.key(), SCOPE) {
                return Ok(reject(skb, config, Reason::RejectedNoPort));
            }
            return Ok(Verdict::NEXT);
        };
        if service.count == 0 {
            return if service.has(Service::DROP_IF_EMPTY) {
                Err(Reason::DroppedLocalPolicy.into())
            } else {
                Ok(reject(skb, config, Reason::RejectedNoBackend))
            };
        }
        let mut new = V::blank(slot);
        let flow: &mut Flow<A> = new.borrow_mut();
        let service = (service, NewAffinity::WhenEstablished);
        service::choose(view.key(), view.sequence(), service, flow)?;
        flow.flags |= Flow::<A>::MASQUERADED;
        view.open(skb, flow, None)?;
        Self::opened(skb, config, view, flow)
    }

    #[inline(always)]
    fn decide_other(skb: Skb) -> Verdict {
        source::decide_tagged(skb)
    }

    #[inline(always)]
    fn opened<A: HasScratch, V: View<A>>(
        skb: Skb,
        config: &Config,
        view: &V,
        flow: &Flow<A>,
    ) -> Result<Verdict, Stop> {
        report::note::<A>(Reason::FlowOpened);
        to_backend(skb, config, view, flow)
    }
}

/// What goes out.
pub(crate) struct ToUplink;

impl Program for ToUplink {
    const INLINE: bool = false;

    #[inline(always)]
    fn view<A: HasScratch, V: View<A>>(skb: Skb, config: &Config) -> Option<(V, V::Slot)> {
        view(skb, config)
    }

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(
        skb: Skb,
        _config: &Config,
        view: &mut V,
        slot: &mut V::Slot,
    ) -> Result<Verdict, Stop> {
        if !is_read(skb, view) {
            return Ok(Verdict::NEXT);
        }
        reverse_nat(skb, view, slot, Hook::ToUplink)
    }
}

/// The view of a packet that is not for a tunnel. What belongs to a VLAN is for the VLAN's device.
#[inline(always)]
fn view<A: HasScratch, V: View<A>>(skb: Skb, config: &Config) -> Option<(V, V::Slot)> {
    let is_other = skb.vlan() != 0 || inline::to_port::<A>(skb, config.tunnel_port).is_some();
    if is_other { None } else { V::new(skb) }
}

/// Whether the source is a node that sends through the tunnel, and by this device.
#[inline(never)]
fn is_from_peer<A: HasScratch>(skb: Skb, source: &A) -> bool {
    let ifindex = skb.ifindex();
    maps::route(source).is_some_and(|route| route.is(RouteKind::Node) && route.ifindex == ifindex)
}

/// Reads a packet. A malformed one is not for these programs to judge: it is not a pod's.
#[inline(always)]
fn is_read<A: HasScratch, V: View<A>>(skb: Skb, view: &mut V) -> bool {
    view.read(skb).unwrap_or(false)
}

#[inline(always)]
fn to_backend<A: HasScratch, V: View<A>>(
    skb: Skb,
    config: &Config,
    view: &V,
    flow: &Flow<A>,
) -> Result<Verdict, Stop> {
    view.remember_ports(Hook::FromUplink);
    skb.mark(config.masquerade_mark);
    V::rewritten(view.dnat(skb, flow), Verdict::NEXT)
}

/// The kernel is asked to reject it: from a device without a peer no packet can be handed back.
#[inline(always)]
fn reject(skb: Skb, config: &Config, reason: Reason) -> Verdict {
    maps::count(reason);
    skb.mark(config.reject_mark);
    Verdict::NEXT
}
