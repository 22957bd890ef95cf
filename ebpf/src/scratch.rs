//! Memory of the CPU for what has no room on the stack. Programs of one CPU run one after the other.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use weir_ebpf_common::{Flow, FlowKey, V4, V6};

use crate::family::Family;
use crate::icmp::Quoted;
use crate::packet::Packet;
use crate::work::Work;

/// What the full view works with.
#[repr(C)]
pub(crate) struct Scratch<A> {
    pub(crate) packet: Packet<A>,
    pub(crate) flow: Flow<A>,
    pub(crate) quoted: Quoted<A>,
}

/// What a packet has left to do for the flow table.
#[repr(C)]
pub(crate) struct Keys<A> {
    /// The packet's key.
    pub(crate) packet: FlowKey<A>,
    pub(crate) work: Work,
    /// Room for the key of the other entry of a flow.
    pub(crate) peer: FlowKey<A>,
    /// The forward key of a flow that is forgotten.
    pub(crate) forgotten: FlowKey<A>,
}

#[map]
static KEYS_V4: PerCpuArray<Keys<V4>> = PerCpuArray::with_max_entries(1, 0);
#[map]
static KEYS_V6: PerCpuArray<Keys<V6>> = PerCpuArray::with_max_entries(1, 0);

// Not pinned: each version of the programs has its own.
#[map]
static SCRATCH_V4: PerCpuArray<Scratch<V4>> = PerCpuArray::with_max_entries(1, 0);
#[map]
static SCRATCH_V6: PerCpuArray<Scratch<V6>> = PerCpuArray::with_max_entries(1, 0);

/// An address family that has such memory.
pub(crate) trait HasScratch: Family {
    const SCRATCH: &'static PerCpuArray<Scratch<Self>>;
    const KEYS: &'static PerCpuArray<Keys<Self>>;
}

impl HasScratch for V4 {
    const SCRATCH: &'static PerCpuArray<Scratch<Self>> = &SCRATCH_V4;
    const KEYS: &'static PerCpuArray<Keys<Self>> = &KEYS_V4;
}

impl HasScratch for V6 {
    const SCRATCH: &'static PerCpuArray<Scratch<Self>> = &SCRATCH_V6;
    const KEYS: &'static PerCpuArray<Keys<Self>> = &KEYS_V6;
}

/// This CPU's memory. A program takes it once at a time.
#[inline(always)]
pub(crate) fn scratch<A: HasScratch>() -> Option<&'static mut Scratch<A>> {
    // SAFETY: it is this CPU's own, zero or what an earlier run wrote, and each run takes it once.
    A::SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// What a packet has left to do on this CPU. Nobody takes it twice at once: a decision to write it, and
/// who does it afterwards.
#[inline(always)]
pub(crate) fn keys<A: HasScratch>() -> Option<&'static mut Keys<A>> {
    // SAFETY: it is this CPU's own, zero or what an earlier run wrote.
    A::KEYS.get_ptr_mut(0).map(|keys| unsafe { &mut *keys })
}
