//! The short way of plain packets: most of them.
//!
//! A packet of TCP or UDP without options or extensions of IP, and that is no fragment and resets
//! nothing, has its headers read and written in place. If it belongs to a flow, that takes one look
//! at the flow table and one at where it goes. What becomes of it is what the long way would decide
//! ([`crate::from_pod`] and its like), which every other packet takes; and so does one that turns out
//! to be out of the ordinary.

use weir_ebpf_common::header::{ETHERNET, TcpFlags};
use weir_ebpf_common::{Endpoint, Flow, FlowKey, Port, RouteKind, Service, Settings, protocol};

use crate::family::{Covering, Family};
use crate::maps::{self, FlowEntry};
use crate::skb::{Head, Refused, Skb};
use crate::verdict::{OrDrop, Verdict};
use crate::{deliver, flow, report, service, translate};

/// Length of a TCP header without options.
const TCP: u32 = 20;
const UDP: u32 = 8;

/// A packet with plain headers.
struct Plain<A> {
    head: Head,
    key: FlowKey<A>,
    /// None of UDP.
    tcp: TcpFlags,
    /// Length of all headers from IP on.
    headers: u32,
}

impl<A: Family> Plain<A> {
    const TRANSPORT: u32 = ETHERNET + A::HEADER;

    /// Reads the headers, if they are plain.
    #[inline(always)]
    fn read(skb: Skb) -> Option<Self> {
        let head = skb.head(Self::TRANSPORT + UDP)?;
        let (source, destination, protocol) = A::plain(head)?;
        let key = FlowKey {
            source,
            destination,
            source_port: head.load(Self::TRANSPORT),
            destination_port: head.load(Self::TRANSPORT + 2),
            protocol,
            reserved: [0; 3],
        };
        if protocol == protocol::UDP {
            let headers = A::HEADER + UDP;
            return Some(Self { head, key, tcp: TcpFlags::default(), headers });
        }
        if protocol != protocol::TCP {
            return None;
        }
        let head = skb.head(Self::TRANSPORT + TCP)?;
        let word: u32 = head.load(Self::TRANSPORT + 12);
        let tcp = TcpFlags::of(word);
        if tcp.resets() {
            return None;
        }
        Some(Self { head, key, tcp, headers: A::HEADER + (u32::from_be(word) >> 28) * 4 })
    }

    /// The sequence number of TCP.
    #[inline(always)]
    fn sequence(&self) -> u32 {
        if self.is_tcp() { self.head.load(Self::TRANSPORT + 4) } else { 0 }
    }

    #[inline(always)]
    fn is_tcp(&self) -> bool {
        self.key.protocol == protocol::TCP
    }

    /// Writes the hardware address of the pod that it goes to.
    #[inline(always)]
    fn address_to(&self, endpoint: &Endpoint) {
        self.head.store(0, endpoint.mac);
    }

    /// Sends it to its backend. Nothing can be done in place afterwards.
    #[inline(always)]
    fn to_backend(&self, skb: Skb, flow: &Flow<A>) -> Result<(), Refused> {
        let Self { key, .. } = self;
        let change = (&key.destination, &flow.address);
        self.translate(skb, A::DESTINATION, change, (flow.client_port, flow.port))
    }

    /// Makes it come from the Service. Nothing can be done in place afterwards.
    #[inline(always)]
    fn to_client(&self, skb: Skb, flow: &Flow<A>) -> Result<(), Refused> {
        let Self { key, .. } = self;
        self.translate(skb, A::SOURCE, (&key.source, &flow.address), (flow.port, flow.client_port))
    }

    #[inline(always)]
    fn translate(
        &self,
        skb: Skb,
        offset: u32,
        change: (&A, &A),
        (source_port, destination_port): (Port, Port),
    ) -> Result<(), Refused> {
        let Self { head, key, .. } = self;
        A::replace_in_place(*head, offset, change);
        head.store(Self::TRANSPORT, source_port);
        head.store(Self::TRANSPORT + 2, destination_port);
        let checksum = Self::TRANSPORT + if self.is_tcp() { 16 } else { 6 };
        let covering = Covering { offset: checksum, optional: !self.is_tcp() };
        A::finish_in_place(skb, offset, change, covering)?;
        translate::correct_port(skb, covering, key.source_port, source_port)?;
        translate::correct_port(skb, covering, key.destination_port, destination_port)
    }
}

/// Whether it is a plain datagram to this UDP port.
#[inline(always)]
pub(crate) fn is_to_port<A: Family>(skb: Skb, port: u32) -> bool {
    let Some(head) = skb.head(Plain::<A>::TRANSPORT + UDP) else { return false };
    let Some((_, _, protocol)) = A::plain(head) else { return false };
    protocol == protocol::UDP
        && u32::from(head.load::<Port>(Plain::<A>::TRANSPORT + 2).get()) == port
}

/// What a pod sends; nothing if that takes the long way.
#[inline(always)]
pub(crate) fn from_pod<A: Family>(skb: Skb) -> Option<Verdict> {
    let settings = maps::settings()?;
    let packet = Plain::<A>::read(skb)?;
    let Some(entry) = maps::flow(&packet.key) else { return of_no_flow(skb, settings, &packet) };
    let flow = entry.get();
    if flow.is_reverse() {
        return of_backend(skb, settings, &packet, (&entry, &flow));
    }
    let goes_on = if packet.is_tcp() {
        !packet.tcp.opens() || flow.opening == packet.sequence()
    } else {
        flow::goes_on(&entry, &flow)
    };
    if !goes_on {
        return if packet.is_tcp() { of_ended(skb, settings, &packet, &flow) } else { None };
    }
    close_and_keep(&packet, &entry, &flow, Flow::<A>::CLIENT_CLOSED);
    to_backend(skb, settings, &packet, &flow)
}

/// To the backend of its flow.
#[inline(always)]
fn to_backend<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Plain<A>,
    flow: &Flow<A>,
) -> Option<Verdict> {
    // A pod that is its own backend, or one whose address is to be hidden.
    if flow.address.is(&packet.key.source) || flow.flags & Flow::<A>::MASQUERADED != 0 {
        return None;
    }
    let fast = is_fast(settings, flow);
    let verdict = match maps::endpoint(&flow.address) {
        Some(endpoint) => {
            // Also where it is bridged: see the long way.
            packet.address_to(&endpoint);
            if fast { deliver::into_pod(skb, &endpoint) } else { Verdict::NEXT }
        }
        None if fast => deliver::to_remote_pod(skb, packet.headers, &flow.address),
        None => Verdict::NEXT,
    };
    Some(packet.to_backend(skb, flow).unless_refused(verdict))
}

/// What the backend of a flow sends. By the stack it is translated where it reaches the client.
#[inline(always)]
fn of_backend<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Plain<A>,
    flow: (&FlowEntry<A>, &Flow<A>),
) -> Option<Verdict> {
    if packet.tcp.opens() {
        return None;
    }
    if !is_fast(settings, flow.1) {
        return Some(Verdict::NEXT);
    }
    let endpoint = maps::endpoint(&packet.key.destination)?;
    Some(answer(skb, packet, &endpoint, flow))
}

#[inline(always)]
fn is_fast<A: Family>(settings: &Settings, flow: &Flow<A>) -> bool {
    settings.has(Settings::FAST_PATH) && flow.flags & Flow::<A>::FAST != 0
}

/// What belongs to no flow: it opens one to a Service, or no Service has to do with it.
#[inline(always)]
fn of_no_flow<A: Family>(skb: Skb, settings: &Settings, packet: &Plain<A>) -> Option<Verdict> {
    let Plain { key, headers, .. } = packet;
    // Without a connection any packet may be a flow's first.
    let may_open = !packet.is_tcp() || packet.tcp.opens();
    let is_fast =
        || settings.has(Settings::FAST_PATH) && maps::is_of_pod(&key.source, skb.ifindex());
    if let Some(endpoint) = maps::endpoint(&key.destination) {
        if may_open && flow::has_answers(key) {
            return None;
        }
        if !is_fast() {
            return Some(Verdict::NEXT);
        }
        packet.address_to(&endpoint);
        return Some(deliver::into_pod(skb, &endpoint));
    }
    if !may_open
        && is_fast()
        && let Some(verdict) = deliver::remote_pod(skb, *headers, &key.destination)
    {
        return Some(verdict);
    }
    if let Some(service) = service::of(key) {
        // Of a connection that the table has forgotten, the Service's backends are left.
        return if may_open { open(skb, settings, packet, (&service, None)) } else { None };
    }
    if !may_open {
        return Some(Verdict::NEXT);
    }
    if service::has_address(key) || flow::has_answers(key) {
        return None;
    }
    if is_fast() {
        return Some(deliver::to_remote_pod(skb, *headers, &key.destination));
    }
    Some(Verdict::NEXT)
}

/// The first packet of a connection, by the ports of one that has ended.
#[inline(always)]
fn of_ended<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Plain<A>,
    ended: &Flow<A>,
) -> Option<Verdict> {
    let service = service::of(&packet.key)?;
    open(skb, settings, packet, (&service, Some(ended)))
}

/// Opens a flow to a Service, instead of one that has ended or beside the others.
#[inline(always)]
fn open<A: Family>(
    skb: Skb,
    settings: &Settings,
    packet: &Plain<A>,
    (service, ended): (&Service, Option<&Flow<A>>),
) -> Option<Verdict> {
    if service.count == 0 || report::is_on() {
        return None;
    }
    let key = &packet.key;
    let mut flow = Flow::default();
    service::choose(key, (packet.sequence(), skb.ifindex()), service, &mut flow).ok()?;
    if flow::is_connected(skb, key, &flow) {
        return None;
    }
    if !ended.is_some_and(|ended| flow::renew(key, ended, &flow)) {
        if let Some(ended) = ended {
            flow::remove(key, ended);
        }
        if !flow::store(key, &flow) {
            return None;
        }
    }
    to_backend(skb, settings, packet, &flow)
}

/// An answer to a pod of this node, by whom it is translated back here: it does not pass `to_pod`.
#[inline(always)]
fn answer<A: Family>(
    skb: Skb,
    packet: &Plain<A>,
    endpoint: &Endpoint,
    (entry, flow): (&FlowEntry<A>, &Flow<A>),
) -> Verdict {
    close_and_keep(packet, entry, flow, Flow::<A>::BACKEND_CLOSED);
    packet.address_to(endpoint);
    let verdict = deliver::into_pod(skb, endpoint);
    packet.to_client(skb, flow).unless_refused(verdict)
}

/// What a pod receives by its node's stack; nothing if that takes the long way.
#[inline(always)]
pub(crate) fn to_pod<A: Family>(skb: Skb) -> Option<Verdict> {
    let packet = Plain::<A>::read(skb)?;
    let Some(entry) = maps::flow(&packet.key) else { return Some(Verdict::NEXT) };
    let flow = entry.get();
    if flow.is_reverse() && !packet.tcp.opens() {
        close_and_keep(&packet, &entry, &flow, Flow::<A>::BACKEND_CLOSED);
        return Some(packet.to_client(skb, &flow).unless_refused(Verdict::NEXT));
    }
    Some(Verdict::NEXT)
}

/// What other nodes send by the tunnel; nothing if that takes the long way.
#[inline(always)]
pub(crate) fn from_overlay<A: Family>(skb: Skb) -> Option<Verdict> {
    if !maps::settings()?.has(Settings::FAST_PATH) {
        return Some(Verdict::NEXT);
    }
    let packet = Plain::<A>::read(skb)?;
    let Some(endpoint) = maps::endpoint(&packet.key.destination) else {
        return Some(Verdict::NEXT);
    };
    let Some(entry) = maps::flow(&packet.key) else {
        if !maps::route(&packet.key.source)?.is(RouteKind::RemotePods) {
            return None;
        }
        packet.address_to(&endpoint);
        return Some(deliver::into_pod(skb, &endpoint));
    };
    let flow = entry.get();
    // The answer to what has gone past the stack comes from a pod.
    let is_fast = flow.is_reverse() && flow.flags & Flow::<A>::FAST != 0 && !packet.tcp.opens();
    is_fast.then(|| answer(skb, &packet, &endpoint, (&entry, &flow)))
}

#[inline(always)]
fn close_and_keep<A: Family>(packet: &Plain<A>, entry: &FlowEntry<A>, flow: &Flow<A>, side: u32) {
    flow::close(entry, packet.tcp, side);
    flow::keep(entry, &packet.key, flow);
}
