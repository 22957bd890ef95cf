//! A packet as the decision of a hook sees it.
//!
//! A hook's decision is written once, over a [`View`], and compiled for two of them.
//! [`crate::inline::Inline`] reads and writes the headers where they are. It shows only packets with
//! ordinary headers, which are most of them. [`crate::full::Full`] shows every packet: it reads and
//! writes by the kernel's helpers, and works in memory of the CPU. The inline view runs first. What
//! it cannot show, or what the decision marks as [`rare`](View::rare), is decided by the full view
//! from the start. So a decision must ask for the full view before it changes the packet, and before
//! it writes anything to a map that would make the full view decide something else.

use core::borrow::{Borrow, BorrowMut};

use weir_ebpf_common::header::TcpFlags;
use weir_ebpf_common::{Config, Direction, Flow, FlowKey, Hook, Mac, Reason, protocol};

use crate::family::Family;
use crate::skb::{HelperFailed, Skb};
use crate::source::Source;
use crate::verdict::{Stop, Verdict};
use crate::work::Work;

/// A packet, and what the decision about it needs of memory.
pub(crate) trait View<A: Family>: Sized {
    /// Whether it shows every packet.
    const FULL: bool;

    /// Room for one flow, where the view has room for it.
    type Slot;
    /// A flow that was found.
    type Held<'a>: Borrow<Flow<A>> + Copy;
    /// A flow that is being made.
    type New<'a>: BorrowMut<Flow<A>>;

    /// What is left of a flow that has ended.
    type Ended;

    /// The view of a packet, if there is one.
    ///
    /// It is not wrapped into a `Result`: the compiler would lay the error over the pointer to the
    /// packet and move both in halves, and the verifier would lose sight of the pointer.
    fn new(skb: Skb) -> Option<(Self, Self::Slot)>;

    /// Reads the headers; false if it is not an IP packet.
    fn read(&mut self, skb: Skb) -> Result<bool, Reason>;

    /// Keeps a flow that was found.
    fn hold(slot: &mut Self::Slot, flow: Flow<A>) -> Self::Held<'_>;

    /// Room for a new flow, to be filled completely.
    fn blank(slot: &mut Self::Slot) -> Self::New<'_>;

    /// Addresses and ports.
    fn key(&self) -> &FlowKey<A>;

    /// The flags of TCP, none for other protocols.
    fn tcp(&self) -> TcpFlags;

    /// The sequence number of TCP, 0 for other protocols.
    fn sequence(&self) -> u32;

    /// Length of all headers from IP on.
    fn headers(&self) -> u32;

    /// Whether it is a datagram and not a fragment of one.
    fn is_whole(&self) -> bool;

    /// Whether a Service can have its protocol.
    fn has_ports(&self) -> bool;

    /// Gives a later fragment the ports of the first; tells whether it has ports now.
    fn recall_ports(&mut self, hook: Hook) -> bool;

    /// Remembers the ports of a first fragment for the later ones.
    fn remember_ports(&self, hook: Hook);

    /// Writes the MAC address of the pod that it goes to.
    fn set_mac(&self, skb: Skb, mac: Mac) -> Result<(), HelperFailed>;

    /// Sends it to the flow's backend. The headers cannot be written in place afterwards.
    fn dnat(&self, skb: Skb, flow: &Flow<A>) -> Result<(), HelperFailed>;

    /// Makes it come from the flow's Service. The headers cannot be written in place afterwards.
    fn reverse_nat(&self, skb: Skb, flow: &Flow<A>) -> Result<(), HelperFailed>;

    /// Checks what a packet of a pod without ports says, and whose address it has.
    fn check_icmp(&self, skb: Skb, config: &Config) -> Result<Source, Stop>;

    /// Translates an ICMP error about a packet of a flow, see [`crate::icmp`]. The flow, if it was
    /// such an error.
    fn nat_icmp_error<'a>(
        &mut self,
        skb: Skb,
        direction: Direction,
        slot: &'a mut Self::Slot,
    ) -> Result<Option<Self::Held<'a>>, Stop>;

    /// Leaves this work on the flow table to be done when the packet is through.
    fn defer(&self, work: Work);

    /// Whether some is left to be done.
    fn has_deferred(&self) -> bool;

    /// Ends a flow that does not go on with this packet of its client.
    fn end(&self, flow: &Flow<A>) -> Result<Self::Ended, Stop>;

    /// Stores a new flow of this packet, maybe in the place of one that has `ended`. The full view stops
    /// for that: who runs it stores the flow and goes on.
    fn open(&self, skb: Skb, flow: &mut Flow<A>, ended: Option<&Self::Ended>) -> Result<(), Stop>;

    /// Turns the packet into its own rejection, back into the pod.
    fn reject(&self, skb: Skb, reason: Reason) -> Result<Verdict, Stop>;

    /// What becomes of a packet that could not be changed.
    fn rewrite_failed() -> Result<Verdict, Stop>;

    /// The verdict, if the packet could be changed.
    #[inline(always)]
    fn rewritten(result: Result<(), HelperFailed>, verdict: Verdict) -> Result<Verdict, Stop> {
        if result.is_ok() { Ok(verdict) } else { Self::rewrite_failed() }
    }

    /// What follows is left to the full view.
    #[inline(always)]
    fn rare() -> Result<(), Stop> {
        if Self::FULL { Ok(()) } else { Err(Stop::NeedsFullView) }
    }

    #[inline(always)]
    fn is_tcp(&self) -> bool {
        self.key().protocol == protocol::TCP
    }

    /// Whether it may be the first packet of a flow: of TCP a SYN, otherwise any.
    #[inline(always)]
    fn may_open(&self) -> bool {
        !self.is_tcp() || self.tcp().opens()
    }
}
