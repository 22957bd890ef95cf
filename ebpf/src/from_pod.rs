//! What a pod sends.

use weir_ebpf_common::{Flow, Hook, Reason, Settings};

use crate::family::Family;
use crate::packet::Packet;
use crate::skb::Skb;
use crate::verdict::Verdict;
use crate::{flow, maps, service, translate};

#[inline(always)]
pub(crate) fn run<A: Family>(skb: Skb) -> Verdict<A> {
    decide(skb).into()
}

#[inline(always)]
fn decide<A: Family>(skb: Skb) -> Result<Verdict<A>, Reason> {
    let Some(settings) = maps::settings() else { return Ok(Verdict::Next) };
    let mut packet = Packet::<A>::empty();
    if !packet.read(skb)? || !packet.has_ports() {
        return Ok(Verdict::Next);
    }
    if !packet.recall_ports(Hook::FromPod) {
        return if service::has_address(&packet) {
            Err(Reason::DroppedFragment)
        } else {
            Ok(Verdict::Next)
        };
    }
    let mut flow = Flow::default();
    if flow::of_client(&packet, &mut flow) {
        return to_backend(skb, settings, &packet, &flow);
    }
    // A pod's address is no Service's.
    if maps::endpoint(&packet.key.destination).is_none()
        && let Some(service) = service::of(&packet)
    {
        if service.count == 0 {
            return Err(Reason::RejectedNoBackend);
        }
        service::choose(&packet, &service, &mut flow)?;
        flow::open(&packet, &mut flow);
        return to_backend(skb, settings, &packet, &flow);
    }
    if packet.may_open() {
        flow::clear_answers(&packet);
    }
    Ok(Verdict::Next)
}

#[inline(always)]
fn to_backend<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Packet<A>,
    flow: &Flow<A>,
) -> Result<Verdict<A>, Reason> {
    packet.remember_ports(Hook::FromPod);
    translate::to_backend(skb, packet, flow).map_err(|_| Reason::DroppedRewrite)?;
    let hairpin = flow.address.is(&packet.key.source);
    if hairpin || flow.flags & Flow::<A>::MASQUERADED != 0 {
        skb.mark(settings.masquerade_mark);
        return Ok(Verdict::Next);
    }
    // The pod's frame is for the gateway. To a pod of this node it is bridged instead, as the
    // answer will be: conntrack sees both directions or none.
    if let Some(endpoint) = maps::endpoint(&flow.address) {
        skb.store(0, &endpoint.mac).map_err(|_| Reason::DroppedRewrite)?;
    }
    Ok(Verdict::Next)
}
