//! The full view: every packet, read and written by the kernel's helpers.
//!
//! It lies in memory of the CPU ([`crate::scratch`]), and so does the flow that a decision works
//! with, because the stack has no room for them.

use core::cell::Cell;

use weir_ebpf_common::header::{Part, TcpFlags};
use weir_ebpf_common::{Config, Direction, Flow, FlowKey, Hook, Mac, Reason};

use crate::deferred::defer;
use crate::icmp::Quoted;
use crate::packet::Packet;
use crate::scratch::{HasScratch, Scratch, scratch};
use crate::skb::{HelperFailed, Skb};
use crate::source::Source;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::work::Work;
use crate::{flow, fragment, icmp, nat, opening, reject, source};

/// Any packet.
pub(crate) struct Full<A: 'static> {
    packet: &'static mut Packet<A>,
    quoted: &'static mut Quoted<A>,
    /// Whether something is left to do for the flow table.
    has_deferred: Cell<bool>,
}

impl<A: HasScratch> Full<A> {
    /// Opens the flow that the decision has left in its slot.
    #[inline(always)]
    pub(crate) fn open_now(&self, skb: Skb, flow: &mut Flow<A>) -> Result<(), Reason> {
        let opened = opening::open(skb, self.key(), flow);
        match opened {
            Ok(()) => self.defer(Work::opened()),
            Err(Reason::DroppedTableFull) => self.defer(Work::refused()),
            // Room would not help.
            Err(_) => {}
        }
        opened
    }
}

impl<A: HasScratch> View<A> for Full<A> {
    const FULL: bool = true;

    type Slot = &'static mut Flow<A>;
    type Held<'a> = &'a Flow<A>;
    type New<'a> = &'a mut Flow<A>;
    type Ended = ();

    #[inline(always)]
    fn new(_skb: Skb) -> Option<(Self, Self::Slot)> {
        let Scratch { packet, flow, quoted } = scratch::<A>()?;
        Some((Self { packet, quoted, has_deferred: Cell::new(false) }, flow))
    }

    #[inline(always)]
    fn read(&mut self, skb: Skb) -> Result<bool, Reason> {
        self.packet.read(skb)
    }

    #[inline(always)]
    fn hold(slot: &mut Self::Slot, flow: Flow<A>) -> &Flow<A> {
        **slot = flow;
        slot
    }

    #[inline(always)]
    fn blank(slot: &mut Self::Slot) -> &mut Flow<A> {
        slot
    }

    #[inline(always)]
    fn key(&self) -> &FlowKey<A> {
        &self.packet.key
    }

    #[inline(always)]
    fn tcp(&self) -> TcpFlags {
        self.packet.tcp
    }

    #[inline(always)]
    fn sequence(&self) -> u32 {
        self.packet.sequence
    }

    #[inline(always)]
    fn headers(&self) -> u32 {
        self.packet.headers()
    }

    #[inline(always)]
    fn is_whole(&self) -> bool {
        self.packet.part == Part::Whole
    }

    #[inline(always)]
    fn has_ports(&self) -> bool {
        self.packet.has_ports()
    }

    #[inline(always)]
    fn recall_ports(&mut self, hook: Hook) -> bool {
        fragment::recall_ports(self.packet, hook)
    }

    #[inline(always)]
    fn remember_ports(&self, hook: Hook) {
        fragment::remember_ports(self.packet, hook);
    }

    #[inline(always)]
    fn set_mac(&self, skb: Skb, mac: Mac) -> Result<(), HelperFailed> {
        skb.store(0, &mac)
    }

    #[inline(always)]
    fn dnat(&self, skb: Skb, flow: &Flow<A>) -> Result<(), HelperFailed> {
        nat::dnat(skb, self.packet, flow)
    }

    #[inline(always)]
    fn reverse_nat(&self, skb: Skb, flow: &Flow<A>) -> Result<(), HelperFailed> {
        nat::reverse_nat(skb, self.packet, flow)
    }

    #[inline(always)]
    fn check_icmp(&self, skb: Skb, config: &Config) -> Result<Source, Stop> {
        Ok(source::check_icmp(skb, config, self.packet)?)
    }

    #[inline(always)]
    fn nat_icmp_error<'a>(
        &mut self,
        skb: Skb,
        direction: Direction,
        slot: &'a mut Self::Slot,
    ) -> Result<Option<&'a Flow<A>>, Stop> {
        let found = icmp::nat_error(skb, self.packet, direction, (slot, self.quoted))?;
        Ok(if found { Some(slot) } else { None })
    }

    #[inline(always)]
    fn defer(&self, work: Work) {
        defer(&self.packet.key, work);
        self.has_deferred.set(true);
    }

    #[inline(always)]
    fn has_deferred(&self) -> bool {
        self.has_deferred.get()
    }

    #[inline(always)]
    fn end(&self, flow: &Flow<A>) -> Result<(), Stop> {
        flow::end(self, flow);
        Ok(())
    }

    #[inline(always)]
    fn open(&self, _skb: Skb, _flow: &mut Flow<A>, _ended: Option<&()>) -> Result<(), Stop> {
        Err(Stop::Opens)
    }

    #[inline(always)]
    fn reject(&self, skb: Skb, reason: Reason) -> Result<Verdict, Stop> {
        Ok(reject::reject(skb, self.packet, reason)?)
    }

    #[inline(always)]
    fn rewrite_failed() -> Result<Verdict, Stop> {
        Err(Reason::DroppedRewrite.into())
    }
}
