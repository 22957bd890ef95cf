//! What a pod sends.

use weir_ebpf_common::{Direction, Flow, Hook, Reason, Service, Settings};

use crate::family::Family;
use crate::icmp::Quoted;
use crate::maps::Scratch;
use crate::packet::Packet;
use crate::skb::Skb;
use crate::verdict::Verdict;
use crate::{deliver, flow, icmp, maps, reject, report, service, translate};

#[inline(always)]
pub(crate) fn run<A: Family>(skb: Skb) -> Verdict {
    decide::<A>(skb).unwrap_or_else(|reason| {
        report::note::<A>(reason);
        Verdict::drop(reason)
    })
}

#[inline(always)]
fn decide<A: Family>(skb: Skb) -> Result<Verdict, Reason> {
    let Some(settings) = maps::settings() else { return Ok(Verdict::NEXT) };
    let Some(Scratch { packet, flow, quoted }) = maps::scratch::<A>() else {
        return Ok(Verdict::NEXT);
    };
    if !packet.read(skb)? {
        return Ok(Verdict::NEXT);
    }
    if !packet.has_ports() {
        return other(skb, settings, packet, (flow, quoted));
    }
    if !packet.recall_ports(Hook::FromPod) {
        return if service::has_address(&packet.key) {
            Err(Reason::DroppedFragment)
        } else {
            Ok(Verdict::NEXT)
        };
    }
    if flow::of_client(packet, flow) {
        return to_backend(skb, settings, packet, flow);
    }
    // A pod's address is no Service's.
    if let Some(endpoint) = maps::endpoint(&packet.key.destination) {
        if packet.may_open() && flow::clear_answers(packet, skb.ifindex(), flow)? {
            flow::open(skb, &packet.key, flow)?;
            return to_backend(skb, settings, packet, flow);
        }
        if !deliver::may_be_fast(skb, settings, packet) {
            return Ok(Verdict::NEXT);
        }
        // The other pod's `to_pod` will not see it.
        if flow::of_backend(packet, flow) {
            translate::to_client(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
        }
        return deliver::to_local_pod(skb, &endpoint).map_err(|_| Reason::DroppedRewrite);
    }
    if let Some(service) = service::of(&packet.key) {
        if service.count == 0 {
            return if service.has(Service::DROP_IF_EMPTY) {
                Err(Reason::DroppedLocalPolicy)
            } else {
                reject::reject(skb, packet, Reason::RejectedNoBackend)
            };
        }
        let seen = (packet.sequence, skb.ifindex());
        service::choose(&packet.key, seen, &service, flow)?;
        flow::open(skb, &packet.key, flow)?;
        report::note::<A>(Reason::FlowOpened);
        return to_backend(skb, settings, packet, flow);
    }
    if packet.may_open() {
        if service::has_address(&packet.key) {
            return reject::reject(skb, packet, Reason::RejectedNoPort);
        }
        if flow::clear_answers(packet, skb.ifindex(), flow)? {
            flow::open(skb, &packet.key, flow)?;
            return to_backend(skb, settings, packet, flow);
        }
    }
    if deliver::may_be_fast(skb, settings, packet) {
        return Ok(deliver::to_remote_pod(skb, packet.headers(), &packet.key.destination));
    }
    Ok(Verdict::NEXT)
}

#[inline(always)]
fn to_backend<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<Verdict, Reason> {
    packet.remember_ports(Hook::FromPod);
    translate::to_backend(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
    onward(skb, settings, packet, flow)
}

/// The way of a packet that goes to a flow's backend now.
#[inline(always)]
fn onward<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<Verdict, Reason> {
    let hairpin = flow.address.is(&packet.key.source);
    if hairpin || flow.flags & Flow::<A>::MASQUERADED != 0 {
        if hairpin {
            maps::count(Reason::Hairpin);
        }
        skb.mark(settings.masquerade_mark);
        return Ok(Verdict::NEXT);
    }
    let fast = deliver::may_be_fast(skb, settings, packet);
    let Some(endpoint) = maps::endpoint(&flow.address) else {
        return Ok(if fast {
            deliver::to_remote_pod(skb, packet.headers(), &flow.address)
        } else {
            Verdict::NEXT
        });
    };
    if fast {
        return deliver::to_local_pod(skb, &endpoint).map_err(|_| Reason::DroppedRewrite);
    }
    // The pod's frame is for the gateway. To a pod of this node it is bridged instead, as the
    // answer will be: conntrack sees both directions or none.
    skb.store(0, &endpoint.mac).map_err(|_| Reason::DroppedRewrite)?;
    Ok(Verdict::NEXT)
}

/// A packet of a protocol that no Service has.
#[inline(always)]
fn other<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Packet<A>,
    (flow, quoted): (&mut Flow<A>, &mut Quoted<A>),
) -> Result<Verdict, Reason> {
    if icmp::translate(skb, packet, Direction::Forward, (flow, quoted))? {
        return onward(skb, settings, packet, flow);
    }
    let endpoint = maps::endpoint(&packet.key.destination);
    if endpoint.is_none() && service::has_address(&packet.key) {
        // Nobody answers to a ping of a Service.
        return reject::reject(skb, packet, Reason::RejectedNoPort);
    }
    if !deliver::may_be_fast(skb, settings, packet) {
        return Ok(Verdict::NEXT);
    }
    let Some(endpoint) = endpoint else {
        return Ok(deliver::to_remote_pod(skb, packet.headers(), &packet.key.destination));
    };
    icmp::translate(skb, packet, Direction::Reverse, (flow, quoted))?;
    deliver::to_local_pod(skb, &endpoint).map_err(|_| Reason::DroppedRewrite)
}
