//! What becomes of a packet.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use weir_ebpf_common::Reason;

use crate::family::Family;
use crate::maps;
use crate::skb;

/// Go on with the next program of the device, then as if there had been none.
pub(crate) const NEXT: i32 = TC_ACT_UNSPEC;

#[derive(Clone, Copy)]
pub(crate) enum Verdict<A> {
    /// It goes on through the kernel, changed or not.
    Next,
    /// Into the pod at the other end of this device.
    Pod { ifindex: u32 },
    /// To a neighbour on this device.
    Neighbour { ifindex: u32, next_hop: A },
    /// Nowhere.
    Drop(Reason),
}

impl<A: Family> Verdict<A> {
    /// The one place where a verdict becomes what the kernel wants.
    #[inline(always)]
    pub(crate) fn carry_out(self) -> i32 {
        match self {
            Self::Next => NEXT,
            Self::Pod { ifindex } => skb::redirect_peer(ifindex),
            Self::Neighbour { ifindex, next_hop } => skb::redirect_neigh(ifindex, &next_hop),
            Self::Drop(reason) => {
                maps::count(reason);
                TC_ACT_SHOT
            }
        }
    }
}

impl<A> From<Result<Self, Reason>> for Verdict<A> {
    #[inline(always)]
    fn from(result: Result<Self, Reason>) -> Self {
        result.unwrap_or_else(Self::Drop)
    }
}
