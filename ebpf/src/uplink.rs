//! Clients outside of the cluster that reach cluster IPs by this node: what they send is translated
//! where it comes in by an uplink, and what they are answered where it goes out again.
//!
//! Between, the node's stack forwards it and gives it an address of the node, by a mark, so that
//! answers come back this way. Most of what passes an uplink is none of this: the tunnel's own
//! packets are let go at once, and the rest after a look at the flow table and one at the Services.

use weir_ebpf_common::{Direction, Flow, Hook, Reason, Service, Settings};

use crate::family::Family;
use crate::maps::{self, Scratch};
use crate::packet::Packet;
use crate::skb::Skb;
use crate::verdict::Verdict;
use crate::{flow, icmp, plain, report, service, translate};

/// What comes in.
#[inline(always)]
pub(crate) fn incoming<A: Family>(skb: Skb) -> Verdict {
    decide_incoming::<A>(skb).unwrap_or_else(|reason| {
        report::note::<A>(reason);
        Verdict::drop(reason)
    })
}

/// What goes out.
#[inline(always)]
pub(crate) fn outgoing<A: Family>(skb: Skb) -> Verdict {
    decide_outgoing::<A>(skb).unwrap_or_else(|reason| {
        report::note::<A>(reason);
        Verdict::drop(reason)
    })
}

#[inline(always)]
fn decide_incoming<A: Family>(skb: Skb) -> Result<Verdict, Reason> {
    let Some(settings) = maps::settings() else { return Ok(Verdict::NEXT) };
    if plain::is_to_port::<A>(skb, settings.tunnel_port) {
        return Ok(Verdict::NEXT);
    }
    let Some(Scratch { packet, flow, quoted }) = maps::scratch::<A>() else {
        return Ok(Verdict::NEXT);
    };
    // What is malformed is not for this program to judge: it is none of a pod.
    if !packet.read(skb).unwrap_or(false) {
        return Ok(Verdict::NEXT);
    }
    if !packet.has_ports() {
        if icmp::translate(skb, packet, Direction::Forward, (flow, quoted))? {
            skb.mark(settings.masquerade_mark);
        }
        return Ok(Verdict::NEXT);
    }
    if !packet.recall_ports(Hook::FromUplink) {
        let is_service = service::has_address(&packet.key);
        return if is_service { Err(Reason::DroppedFragment) } else { Ok(Verdict::NEXT) };
    }
    if !flow::of_client(packet, flow) {
        let Some(service) = service::of(&packet.key) else {
            if packet.may_open() && service::has_address(&packet.key) {
                return Ok(rejected(skb, settings, Reason::RejectedNoPort));
            }
            return Ok(Verdict::NEXT);
        };
        if service.count == 0 {
            return if service.has(Service::DROP_IF_EMPTY) {
                Err(Reason::DroppedLocalPolicy)
            } else {
                Ok(rejected(skb, settings, Reason::RejectedNoBackend))
            };
        }
        open(skb, packet, &service, flow)?;
    }
    packet.remember_ports(Hook::FromUplink);
    translate::to_backend(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
    skb.mark(settings.masquerade_mark);
    Ok(Verdict::NEXT)
}

#[inline(always)]
fn open<A: Family>(
    skb: Skb,
    packet: &Packet<A>,
    service: &Service,
    flow: &mut Flow<A>,
) -> Result<(), Reason> {
    service::choose(&packet.key, (packet.sequence, skb.ifindex()), service, flow)?;
    flow.flags |= Flow::<A>::MASQUERADED;
    flow::open(skb, &packet.key, flow)?;
    report::note::<A>(Reason::FlowOpened);
    Ok(())
}

/// The kernel is asked to reject it: from a device without a peer no answer can be handed back.
#[inline(always)]
fn rejected(skb: Skb, settings: &Settings, reason: Reason) -> Verdict {
    maps::count(reason);
    skb.mark(settings.reject_mark);
    Verdict::NEXT
}

#[inline(always)]
fn decide_outgoing<A: Family>(skb: Skb) -> Result<Verdict, Reason> {
    let Some(settings) = maps::settings() else { return Ok(Verdict::NEXT) };
    if plain::is_to_port::<A>(skb, settings.tunnel_port) {
        return Ok(Verdict::NEXT);
    }
    let Some(Scratch { packet, flow, quoted }) = maps::scratch::<A>() else {
        return Ok(Verdict::NEXT);
    };
    if !packet.read(skb).unwrap_or(false) {
        return Ok(Verdict::NEXT);
    }
    if !packet.has_ports() {
        icmp::translate(skb, packet, Direction::Reverse, (flow, quoted))?;
        return Ok(Verdict::NEXT);
    }
    if packet.recall_ports(Hook::ToUplink) && flow::of_backend(packet, flow) {
        packet.remember_ports(Hook::ToUplink);
        translate::to_client(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
    }
    Ok(Verdict::NEXT)
}
