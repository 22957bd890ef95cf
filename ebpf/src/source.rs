//! Who a packet says it is from.
//!
//! A pod sends with its own addresses: those that the plugin has given to the interface, and the
//! link-local one of its MAC address. Everything else that comes from its device is dropped, so that no
//! pod can speak for another one, for a Service, or for the node. The pods at devices in the map
//! `ROUTERS` forward for others and may send anything.

use weir_ebpf_common::header::{ETHERNET, Part};
use weir_ebpf_common::{Address, Config, Mac, Reason, RouteKind, Scope, V4, protocol};

use crate::family::Family;
use crate::icmp;
use crate::maps;
use crate::packet::Packet;
use crate::skb::Skb;
use crate::verdict::Verdict;

/// The device of the pod whose address a packet has, if there is one and a pod may send it: its own, or
/// any if it routes for others. (It is a number that the verifier does not know, so that it need not
/// follow both cases to the end.)
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// The device of the pod that has the address.
    device: u32,
    /// The device that the packet has come in by.
    pub(crate) ifindex: u32,
}

impl Source {
    /// That of a packet that has come in by a device and should come by this one.
    #[inline(always)]
    pub(crate) fn of(device: u32, ifindex: u32) -> Self {
        Self { device, ifindex }
    }

    /// Whether the pod sends as itself.
    #[inline(always)]
    pub(crate) fn is_own(self) -> bool {
        self.device == self.ifindex
    }
}

/// Whose address has the packet of a pod at this device.
#[inline(always)]
pub(crate) fn of_pod<A: Family>(
    ifindex: u32,
    config: &Config,
    source: &A,
) -> Result<Source, Reason> {
    let source = Source::of(maps::device_of(source), ifindex);
    if source.is_own() || may_be_other(ifindex, config) {
        Ok(source)
    } else {
        Err(Reason::DroppedSource)
    }
}

/// Whether the pod at this device may send as somebody else.
#[inline(never)]
fn may_be_other(ifindex: u32, config: &Config) -> bool {
    !config.has(Config::SOURCE_CHECK) || maps::is_router(ifindex)
}

/// What a pod may not say by ICMP or IGMP: that it is a router, or that an address of another one is its own.
///
/// The unspecified address is the source of a pod that looks whether an address is free (RFC 4862,
/// section 5.4), which it may do for its own.
#[inline(never)]
pub(crate) fn check_icmp<A: Family>(
    skb: Skb,
    config: &Config,
    packet: &Packet<A>,
) -> Result<Source, Reason> {
    let ifindex = skb.ifindex();
    if may_be_other(ifindex, config) {
        return of_pod(ifindex, config, &packet.key.source);
    }
    let protocol = packet.key.protocol;
    let has_kind = protocol == A::ICMP || protocol == protocol::IGMP;
    if has_kind && packet.part != Part::Later {
        let kind: u8 = skb.load(packet.transport).map_err(|_| Reason::DroppedMalformed)?;
        if A::is_of_router(protocol, kind) {
            return Err(Reason::DroppedRouter);
        }
        if protocol != A::ICMP {
            return of_pod(ifindex, config, &packet.key.source);
        }
        let unspecified = packet.key.source.is(&A::default());
        if A::names_own_address(kind, unspecified) {
            // A fragment of such a message is nobody's (RFC 6980).
            if packet.part != Part::Whole {
                return Err(Reason::DroppedSource);
            }
            let target: A = skb.load(packet.transport + 8).map_err(|_| Reason::DroppedMalformed)?;
            if !maps::is_of_pod(&target, ifindex) {
                return Err(Reason::DroppedSource);
            }
            if unspecified {
                return Ok(Source::of(0, ifindex));
            }
        }
        if unspecified && A::may_be_unspecified(kind) {
            return Ok(Source::of(0, ifindex));
        }
        let source = of_pod(ifindex, config, &packet.key.source)?;
        // Whoever is no router has errors about packets that were sent to it only.
        if A::is_error(kind) {
            let quoted = packet.transport + icmp::HEADER + A::DESTINATION - ETHERNET;
            let destination: A = skb.load(quoted).map_err(|_| Reason::DroppedMalformed)?;
            if !maps::is_of_pod(&destination, ifindex) {
                return Err(Reason::DroppedSource);
            }
        }
        return Ok(source);
    }
    of_pod(ifindex, config, &packet.key.source)
}

/// An ARP message for IPv4 over Ethernet (RFC 826), as it lies behind the Ethernet header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arp {
    /// Hardware and protocol, with the lengths of their addresses, and the operation.
    kind: [u16; 4],
    sender_mac: Mac,
    /// The sender's address, in halves because it is not aligned.
    sender: [u16; 2],
    target_mac: [u16; 3],
    target: [u16; 2],
}

impl Arp {
    /// The operation of a question (RFC 826).
    const REQUEST: u16 = 1_u16.to_be();

    fn address([a, b]: [u16; 2]) -> V4 {
        let ([a, b], [c, d]) = (a.to_ne_bytes(), b.to_ne_bytes());
        V4::new([a, b, c, d])
    }
}

/// ARP in an Ethernet header, in network byte order.
const ARP: u32 = 0x0806_u16.to_be() as u32;

/// A packet of a pod that is not IP. Only ARP says who sends it.
#[inline(never)]
pub(crate) fn decide_other(skb: Skb) -> Verdict {
    let Some(config) = maps::config() else { return Verdict::NEXT };
    if may_be_other(skb.ifindex(), config) || (skb.protocol() == ARP && is_own_arp(skb)) {
        return Verdict::NEXT;
    }
    Verdict::drop(Reason::DroppedSource)
}

/// Whether an ARP message of a pod names the pod as its sender. A sender without an address asks whether
/// one is free (RFC 5227), which a pod may do for its own.
#[inline(always)]
fn is_own_arp(skb: Skb) -> bool {
    let (Ok(arp), Ok(ethernet)) = (skb.load::<Arp>(ETHERNET), skb.load::<Mac>(6)) else {
        return false;
    };
    let mut own = Arp::address(arp.sender);
    if own.is(&V4::default()) && arp.kind[3] == Arp::REQUEST {
        own = Arp::address(arp.target);
    }
    maps::endpoint(&own).is_some_and(|endpoint| {
        endpoint.ifindex == skb.ifindex()
            && endpoint.mac == arp.sender_mac
            && endpoint.mac == ethernet
    })
}

/// VLAN tags in an Ethernet header (IEEE 802.1Q and 802.1ad), in network byte order.
const TAGS: [u32; 2] = [0x8100_u16.to_be() as u32, 0x88a8_u16.to_be() as u32];

/// A packet from outside that is not IP. The kernel has taken off one tag, and after this program takes
/// off all those of VLAN 0. Such a packet would be as any other without having been looked at.
#[inline(never)]
pub(crate) fn decide_tagged(skb: Skb) -> Verdict {
    let Some(config) = maps::config() else { return Verdict::NEXT };
    let protocol = skb.protocol();
    if !config.has(Config::SOURCE_CHECK) || !(protocol == TAGS[0] || protocol == TAGS[1]) {
        return Verdict::NEXT;
    }
    let tag = skb.load::<u16>(ETHERNET).map_or(0, u16::from_be);
    if skb.vlan() == 0 && tag & 0xfff == 0 {
        return Verdict::drop(Reason::DroppedSource);
    }
    Verdict::NEXT
}

/// Whose address a packet from outside of the node has: one of these, or both. (A number, so that the
/// verifier need not follow each case to the end.)
const REMOTE_POD: u32 = 1 << 0;
const FORGED: u32 = 1 << 1;

/// Whether a packet from outside of the node comes from where its source is: not with the address of a
/// Service or of a pod of this node, and with that of another node's pod only by the device that leads
/// there. Returns whether a pod of another node has sent it.
#[inline(always)]
pub(crate) fn check_outside<A: Family>(
    skb: Skb,
    config: &Config,
    source: &A,
) -> Result<bool, Reason> {
    let sender = sender(skb, source);
    if sender & FORGED != 0 && config.has(Config::SOURCE_CHECK) {
        return Err(Reason::DroppedSource);
    }
    Ok(sender & REMOTE_POD != 0)
}

#[inline(never)]
fn sender<A: Family>(skb: Skb, source: &A) -> u32 {
    match maps::route(source) {
        Some(route) if route.is(RouteKind::LocalPods) => FORGED,
        Some(route) if route.is(RouteKind::RemotePods) => {
            let is_expected = route.ifindex == 0 || route.ifindex == skb.ifindex();
            if is_expected { REMOTE_POD } else { REMOTE_POD | FORGED }
        }
        Some(_) => 0,
        // Nobody outside replies as a Service.
        None if maps::is_service(source, Scope::Internal) => FORGED,
        None => 0,
    }
}
