//! The inline view: ordinary packets, whose headers are read and written where they are.
//!
//! It shows packets of TCP and UDP without options or extensions of IP that are not fragments and
//! do not reset a connection.

use core::cell::Cell;

use weir_ebpf_common::header::{ETHERNET, TcpFlags};
use weir_ebpf_common::{Config, Direction, Flow, FlowKey, Hook, Mac, Port, Reason, protocol};

use crate::deferred::defer;
use crate::family::L4Checksum;
use crate::scratch::HasScratch;
use crate::skb::{Head, HelperFailed, Skb};
use crate::source::Source;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::work::Work;
use crate::{flow, nat, opening};

/// Length of a TCP header without options.
const TCP: u32 = 20;
const UDP: u32 = 8;

/// A packet with ordinary headers.
pub(crate) struct Inline<A> {
    head: Head,
    key: FlowKey<A>,
    /// None of UDP.
    tcp: TcpFlags,
    /// Length of all headers from IP on.
    headers: u32,
    /// Whether something is left to do for the flow table.
    has_deferred: Cell<bool>,
}

impl<A: HasScratch> Inline<A> {
    const TRANSPORT: u32 = ETHERNET + A::HEADER;

    #[inline(always)]
    fn read_headers(skb: Skb) -> Option<Self> {
        let head = skb.head(Self::TRANSPORT + UDP)?;
        let (source, destination, protocol) = A::inline_header(head)?;
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
            let tcp = TcpFlags::default();
            return Some(Self { head, key, tcp, headers, has_deferred: Cell::new(false) });
        }
        if protocol != protocol::TCP {
            return None;
        }
        if !skb.reaches(head, Self::TRANSPORT + TCP) {
            return None;
        }
        let word: u32 = head.load(Self::TRANSPORT + 12);
        let tcp = TcpFlags::of(word);
        if tcp.resets() {
            return None;
        }
        let headers = A::HEADER + (u32::from_be(word) >> 28) * 4;
        Some(Self { head, key, tcp, headers, has_deferred: Cell::new(false) })
    }

    #[inline(always)]
    fn nat(
        &self,
        skb: Skb,
        offset: u32,
        change: (&A, &A),
        (source_port, destination_port): (Port, Port),
    ) -> Result<(), HelperFailed> {
        let Self { head, key, .. } = self;
        A::replace_inline(*head, offset, change);
        head.store(Self::TRANSPORT, source_port);
        head.store(Self::TRANSPORT + 2, destination_port);
        let checksum = Self::TRANSPORT + if self.is_tcp() { 16 } else { 6 };
        let checksum = L4Checksum { offset: checksum, optional: !self.is_tcp() };
        A::finish_inline(skb, offset, change, checksum)?;
        nat::correct_port(skb, checksum, key.source_port, source_port)?;
        nat::correct_port(skb, checksum, key.destination_port, destination_port)
    }
}

impl<A: HasScratch> View<A> for Inline<A> {
    const FULL: bool = false;

    type Slot = ();
    type Held<'a> = Flow<A>;
    type New<'a> = Flow<A>;
    type Ended = Flow<A>;

    #[inline(always)]
    fn new(skb: Skb) -> Option<(Self, ())> {
        Self::read_headers(skb).map(|view| (view, ()))
    }

    #[inline(always)]
    fn read(&mut self, _skb: Skb) -> Result<bool, Reason> {
        Ok(true)
    }

    #[inline(always)]
    fn hold(_slot: &mut (), flow: Flow<A>) -> Flow<A> {
        flow
    }

    #[inline(always)]
    fn blank(_slot: &mut ()) -> Flow<A> {
        Flow::default()
    }

    #[inline(always)]
    fn key(&self) -> &FlowKey<A> {
        &self.key
    }

    #[inline(always)]
    fn tcp(&self) -> TcpFlags {
        self.tcp
    }

    #[inline(always)]
    fn sequence(&self) -> u32 {
        if self.is_tcp() { self.head.load(Self::TRANSPORT + 4) } else { 0 }
    }

    #[inline(always)]
    fn headers(&self) -> u32 {
        self.headers
    }

    #[inline(always)]
    fn is_whole(&self) -> bool {
        true
    }

    #[inline(always)]
    fn has_ports(&self) -> bool {
        true
    }

    #[inline(always)]
    fn recall_ports(&mut self, _hook: Hook) -> bool {
        true
    }

    #[inline(always)]
    fn remember_ports(&self, _hook: Hook) {}

    #[inline(always)]
    fn set_mac(&self, _skb: Skb, mac: Mac) -> Result<(), HelperFailed> {
        self.head.store(0, mac);
        Ok(())
    }

    #[inline(always)]
    fn dnat(&self, skb: Skb, flow: &Flow<A>) -> Result<(), HelperFailed> {
        let change = (&self.key.destination, &flow.address);
        self.nat(skb, A::DESTINATION, change, (flow.nat_port, flow.port))
    }

    #[inline(always)]
    fn reverse_nat(&self, skb: Skb, flow: &Flow<A>) -> Result<(), HelperFailed> {
        let change = (&self.key.source, &flow.address);
        self.nat(skb, A::SOURCE, change, (flow.port, flow.nat_port))
    }

    #[inline(always)]
    fn check_icmp(&self, _skb: Skb, _config: &Config) -> Result<Source, Stop> {
        Err(Stop::NeedsFullView)
    }

    #[inline(always)]
    fn nat_icmp_error(
        &mut self,
        _skb: Skb,
        _direction: Direction,
        _slot: &mut (),
    ) -> Result<Option<Flow<A>>, Stop> {
        Err(Stop::NeedsFullView)
    }

    #[inline(always)]
    fn defer(&self, work: Work) {
        defer(&self.key, work);
        self.has_deferred.set(true);
    }

    #[inline(always)]
    fn has_deferred(&self) -> bool {
        self.has_deferred.get()
    }

    /// The entries stay: those of a connection can mostly be renewed.
    #[inline(always)]
    fn end(&self, flow: &Flow<A>) -> Result<Flow<A>, Stop> {
        if self.is_tcp() { Ok(*flow) } else { Err(Stop::NeedsFullView) }
    }

    /// Stores it if that is simple. If it is not, the entries of the flow that has ended are gone, and
    /// session affinity has noted a backend: the full view goes on from there, and decides the same
    /// as from before.
    #[inline(always)]
    fn open(&self, skb: Skb, flow: &mut Flow<A>, ended: Option<&Flow<A>>) -> Result<(), Stop> {
        let key = &self.key;
        if opening::is_connected(skb, key, flow) {
            return Err(Stop::NeedsFullView);
        }
        if let Some(ended) = ended {
            if opening::renew(key, ended, flow) {
                // One that was closed is in a ring already.
                if !ended.is_closed() {
                    self.defer(Work::opened());
                }
                return Ok(());
            }
            flow::remove(key, ended);
        }
        if !opening::store(key, flow) {
            return Err(Stop::NeedsFullView);
        }
        self.defer(Work::opened());
        Ok(())
    }

    #[inline(always)]
    fn reject(&self, _skb: Skb, _reason: Reason) -> Result<Verdict, Stop> {
        Err(Stop::NeedsFullView)
    }

    /// It may be half changed, so the full view cannot decide any more.
    #[inline(always)]
    fn rewrite_failed() -> Result<Verdict, Stop> {
        Ok(Verdict::drop(Reason::DroppedRewrite))
    }
}

/// The addresses of a UDP datagram with ordinary headers to this port; nothing if it is another packet.
#[inline(always)]
pub(crate) fn to_port<A: HasScratch>(skb: Skb, port: u32) -> Option<(A, A)> {
    let head = skb.head(Inline::<A>::TRANSPORT + UDP)?;
    let (source, destination, protocol) = A::inline_header(head)?;
    let is_to_port = protocol == protocol::UDP
        && u32::from(head.load::<Port>(Inline::<A>::TRANSPORT + 2).get()) == port;
    if is_to_port { Some((source, destination)) } else { None }
}
