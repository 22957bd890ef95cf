//! What a pod sends.

use core::borrow::{Borrow, BorrowMut};

use weir_ebpf_common::{Config, Direction, Flow, Hook, Port, Reason, Scope, Service, protocol};

use crate::family::Family;
use crate::flow::Side;
use crate::maps;
use crate::maps::flow_table::{self, FlowEntry};
use crate::program::Program;
use crate::scratch::HasScratch;
use crate::service::NewAffinity;
use crate::skb::Skb;
use crate::source::Source;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::{deliver, flow, opening, report, service, source};

pub(crate) struct FromPod;

impl Program for FromPod {
    const INLINE: bool = true;
    const OPENS: bool = true;

    #[inline(always)]
    fn decide<A: HasScratch, V: View<A>>(
        skb: Skb,
        config: &Config,
        view: &mut V,
        slot: &mut V::Slot,
    ) -> Result<Verdict, Stop> {
        if !view.read(skb)? {
            return Ok(Verdict::NEXT);
        }
        if !view.has_ports() {
            return without_ports(skb, config, view, slot);
        }
        // Read once: the compiler would keep a pointer to it, which the verifier refuses.
        let ifindex = skb.ifindex();
        if !view.recall_ports(Hook::FromPod) {
            source::of_pod(ifindex, config, &view.key().source)?;
            return if service::has_address(view.key(), Scope::Internal) {
                Err(Reason::DroppedFragment.into())
            } else {
                Ok(Verdict::NEXT)
            };
        }
        let entry = flow_table::flows(view.key()).get(view.key());
        let mut source = Source::of(entry.as_ref().map_or(0, FlowEntry::ifindex), ifindex);
        if !source.is_own() {
            source = source::of_pod(ifindex, config, &view.key().source)?;
            if !source.is_own() {
                V::rare()?;
            }
            // Another pod had the address before, or an earlier release has made the entry.
            if let Some(entry) = &entry
                && source.is_own()
            {
                entry.set_ifindex(ifindex);
            }
        }
        let mut ended = None;
        if let Some(entry) = entry {
            let held = V::hold(slot, entry.get());
            let flow: &Flow<A> = held.borrow();
            if flow.is_reverse() {
                if !view.tcp().opens() {
                    return reply(skb, config, view, flow);
                }
                V::rare()?;
            } else if flow::goes_on(view, &entry, flow) {
                flow::track(view, flow, Side::Client);
                return to_backend(skb, config, view, flow);
            } else {
                ended = Some(view.end(flow)?);
            }
        }
        without_flow(skb, config, (view, source), slot, ended.as_ref())
    }

    #[inline(always)]
    fn opened<A: HasScratch, V: View<A>>(
        skb: Skb,
        config: &Config,
        view: &V,
        flow: &Flow<A>,
    ) -> Result<Verdict, Stop> {
        if flow.service != flow::DIRECT {
            report::note::<A>(Reason::FlowOpened);
        }
        to_backend(skb, config, view, flow)
    }

    #[inline(always)]
    fn decide_other(skb: Skb) -> Verdict {
        source::decide_other(skb)
    }
}

/// To the backend of its flow.
#[inline(always)]
fn to_backend<A: HasScratch, V: View<A>>(
    skb: Skb,
    config: &Config,
    view: &V,
    flow: &Flow<A>,
) -> Result<Verdict, Stop> {
    view.remember_ports(Hook::FromPod);
    let fast = deliver::is_fast(config, view, flow);
    let verdict = onward(skb, config, view, (flow, fast))?;
    V::rewritten(view.dnat(skb, flow), verdict)
}

/// The way of a packet to its flow's backend, bypassing the stack if it is `fast`.
#[inline(always)]
fn onward<A: HasScratch, V: View<A>>(
    skb: Skb,
    config: &Config,
    view: &V,
    (flow, fast): (&Flow<A>, bool),
) -> Result<Verdict, Stop> {
    let hairpin = flow.address.is(&view.key().source);
    if hairpin || flow.flags & Flow::<A>::MASQUERADED != 0 {
        if hairpin {
            maps::count(Reason::Hairpin);
        }
        skb.mark(config.masquerade_mark);
        return Ok(Verdict::NEXT);
    }
    let Some(endpoint) = maps::endpoint(&flow.address) else {
        return Ok(if fast {
            deliver::to_remote_pod(skb, view.headers(), &flow.address)
        } else {
            Verdict::NEXT
        });
    };
    // The pod's frame is for the gateway. By the stack, to a pod of this node, it is bridged instead, as
    // the reply will be: conntrack sees both directions or none.
    let changed = view.set_mac(skb, endpoint.mac);
    V::rewritten(changed, if fast { deliver::into_pod(skb, endpoint) } else { Verdict::NEXT })
}

/// What the backend of a flow sends. By the stack it is translated where it reaches the client.
#[inline(always)]
fn reply<A: HasScratch, V: View<A>>(
    skb: Skb,
    config: &Config,
    view: &V,
    flow: &Flow<A>,
) -> Result<Verdict, Stop> {
    if !deliver::is_fast(config, view, flow) {
        return Ok(Verdict::NEXT);
    }
    let Some(endpoint) = maps::endpoint(&view.key().destination) else {
        return Ok(Verdict::NEXT);
    };
    deliver::reply(skb, view, endpoint, flow)
}

/// What belongs to no flow that goes on: it opens one, or no Service has to do with it.
#[inline(always)]
fn without_flow<A: HasScratch, V: View<A>>(
    skb: Skb,
    config: &Config,
    (view, source): (&V, Source),
    slot: &mut V::Slot,
    ended: Option<&V::Ended>,
) -> Result<Verdict, Stop> {
    let (key, may_open) = (view.key(), view.may_open());
    // A client that uses its ports again mostly means the same Service.
    let mut service = if ended.is_some() { service::of(key, Scope::Internal) } else { None };
    if ended.is_some() && service.is_none() {
        V::rare()?;
    }
    let endpoint = if service.is_none() { maps::endpoint(&key.destination) } else { None };
    if endpoint.is_none() && service.is_none() {
        // In the middle of a connection, the address of a pod elsewhere is no Service's.
        if !may_open
            && deliver::may_be_fast(config, view, source)
            && let Some(verdict) = deliver::remote_pod(skb, view.headers(), &key.destination)
        {
            return Ok(verdict);
        }
        service = service::of(key, Scope::Internal);
    }
    let mut new = V::blank(slot);
    let flow: &mut Flow<A> = new.borrow_mut();
    let opens = if let Some(service) = service {
        // Also in the middle of a connection: the table has forgotten its flow.
        if service.count == 0 {
            V::rare()?;
            return if service.has(Service::DROP_IF_EMPTY) {
                Err(Reason::DroppedLocalPolicy.into())
            } else {
                view.reject(skb, Reason::RejectedNoBackend)
            };
        }
        if report::is_on() {
            V::rare()?;
        }
        let service = (service, NewAffinity::AtOnce);
        service::choose(key, view.sequence(), service, flow)?;
        if !source.is_own() {
            flow.flags &= !Flow::<A>::FAST;
        }
        if is_for_tunnel(config, (key.protocol, flow.port), &flow.address) {
            return Err(Reason::DroppedTunnel.into());
        }
        true
    } else if is_for_tunnel(config, (key.protocol, key.destination_port), &key.destination) {
        return Err(Reason::DroppedTunnel.into());
    } else if !may_open {
        false
    } else {
        // A local pod's address is no Service's.
        if endpoint.is_none() && service::has_address(key, Scope::Internal) {
            return view.reject(skb, Reason::RejectedNoPort);
        }
        if opening::has_replies(key) {
            V::rare()?;
            opening::clear_replies((key, view.sequence()), source.ifindex, flow)
        } else {
            false
        }
    };
    if opens {
        view.open(skb, flow, ended)?;
        return FromPod::opened(skb, config, view, flow);
    }
    if !deliver::may_be_fast(config, view, source) {
        return Ok(Verdict::NEXT);
    }
    let Some(endpoint) = endpoint else {
        return Ok(deliver::to_remote_pod(skb, view.headers(), &key.destination));
    };
    let changed = view.set_mac(skb, endpoint.mac);
    V::rewritten(changed, deliver::into_pod(skb, endpoint))
}

/// Whether a datagram would come out of the tunnel of the node that it is sent to. Only nodes speak to
/// each other by it.
#[inline(never)]
fn is_for_tunnel<A: Family>(config: &Config, (number, port): (u8, Port), destination: &A) -> bool {
    number == protocol::UDP
        && u32::from(port.get()) == config.tunnel_port
        && config.has(Config::SOURCE_CHECK)
        && !maps::is_pod(destination)
}

/// A packet of a protocol that no Service has.
#[inline(always)]
fn without_ports<A: HasScratch, V: View<A>>(
    skb: Skb,
    config: &Config,
    view: &mut V,
    slot: &mut V::Slot,
) -> Result<Verdict, Stop> {
    let source = view.check_icmp(skb, config)?;
    if let Some(held) = view.nat_icmp_error(skb, Direction::Forward, slot)? {
        let fast = deliver::may_be_fast(config, view, source);
        return onward(skb, config, view, (held.borrow(), fast));
    }
    let endpoint = maps::endpoint(&view.key().destination);
    if endpoint.is_none() && service::has_address(view.key(), Scope::Internal) {
        // Nothing replies to a ping of a Service.
        return view.reject(skb, Reason::RejectedNoPort);
    }
    if !deliver::may_be_fast(config, view, source) {
        return Ok(Verdict::NEXT);
    }
    let Some(endpoint) = endpoint else {
        return Ok(deliver::to_remote_pod(skb, view.headers(), &view.key().destination));
    };
    view.nat_icmp_error(skb, Direction::Reverse, slot)?;
    let changed = view.set_mac(skb, endpoint.mac);
    V::rewritten(changed, deliver::into_pod(skb, endpoint))
}
