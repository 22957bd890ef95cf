//! What becomes of a packet.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use weir_ebpf_common::{Address, Reason};

use crate::{maps, skb};

/// What the kernel is told to do with a packet. Made here only, so that this file is the table of
/// all that can become of one. (It is not an enum that is turned into an action later: the compiler
/// would move what only some variants have through uninitialised bytes of the stack, which kernels
/// before 6.3 refuse to read.)
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Verdict(i32);

impl Verdict {
    /// Not a verdict, and not one of the kernel's actions: the inline view has decided nothing.
    pub(crate) const NONE: i32 = i32::MIN;

    /// Not a verdict either: the full view has a flow to open.
    pub(crate) const OPENS: i32 = i32::MIN + 1;

    /// What is added to the kernel's actions when something is left to do for the flow table; less one,
    /// because the smallest of them is -1.
    pub(crate) const DEFERRED: i32 = (1 << 16) - 1;

    /// It goes on through the kernel, changed or not: to the next program of the device, then as if
    /// there had been none.
    pub(crate) const NEXT: Self = Self(TC_ACT_UNSPEC);

    /// Into the pod at the other end of a device.
    #[inline(always)]
    pub(crate) fn pod(ifindex: u32) -> Self {
        Self(skb::redirect_peer(ifindex))
    }

    /// To a neighbour on a device.
    #[inline(always)]
    pub(crate) fn neighbour<A: Address>(ifindex: u32, next_hop: &A) -> Self {
        Self(skb::redirect_neigh(ifindex, next_hop))
    }

    /// Nowhere.
    #[inline(always)]
    pub(crate) fn drop(reason: Reason) -> Self {
        maps::count(reason);
        Self(TC_ACT_SHOT)
    }

    /// The action, and that something is left to do, see [`crate::deferred`].
    #[inline(always)]
    pub(crate) fn deferred(self) -> i32 {
        self.0 + Self::DEFERRED + 1
    }

    /// What the kernel understands.
    #[inline(always)]
    pub(crate) fn action(self) -> i32 {
        self.0
    }
}

/// Why a decision ended without a verdict.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    /// The packet is dropped.
    Drop(Reason),
    /// The inline view cannot decide, see [`crate::view`].
    NeedsFullView,
    /// The full view has a flow to open, see [`crate::program::Program::opened`].
    Opens,
}

impl From<Reason> for Stop {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::Drop(reason)
    }
}
