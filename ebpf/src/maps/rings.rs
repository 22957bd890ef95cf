//! The rings of flows that do not last: where each CPU is in them. See [`crate::brief`].

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use weir_ebpf_common::{FlowKey, protocol};

use super::{Mapped, random};

/// Where each CPU is in each ring of flows that do not last.
#[map]
static CURSORS: PerCpuArray<u32> = PerCpuArray::with_max_entries(8, 0);
/// How many flows that open have yet to make room for another one.
#[map]
static DEBT: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// A slot of the rings of flows that do not last (see [`crate::brief`]).
pub(crate) struct BriefSlot<A: 'static>(*mut FlowKey<A>);

impl<A: Mapped> BriefSlot<A> {
    /// The forward key of the flow that it has, or zeroes. Another CPU may write it meanwhile: then it is
    /// the key of one flow or of another, or of none.
    #[inline(always)]
    pub(crate) fn get(&self) -> FlowKey<A> {
        // SAFETY: a value of an array stays where it is.
        unsafe { *self.0 }
    }

    #[inline(always)]
    pub(crate) fn set(&self, key: &FlowKey<A>) {
        // SAFETY: as above.
        unsafe { *self.0 = *key }
    }
}

/// How many lanes the rings have: who loads the programs says so. Each CPU has one, so that they do not
/// wait for each other.
#[unsafe(no_mangle)]
static LANES: Global<u32> = Global::new(1);

/// This CPU's lane of the rings.
#[inline(always)]
pub(crate) fn own_lane() -> u32 {
    // SAFETY: no memory is passed.
    (unsafe { bpf_get_smp_processor_id() } as u32) % LANES.load().max(1)
}

/// Any lane of the rings.
#[inline(always)]
pub(crate) fn any_lane() -> u32 {
    random() % LANES.load().max(1)
}

/// The next slot in a lane of one of the rings of a protocol.
#[inline(always)]
pub(crate) fn next_brief<A: Mapped>(number: u8, ring: u32, lane: u32) -> Option<BriefSlot<A>> {
    let is_tcp = number == protocol::TCP;
    let slots = if is_tcp { A::MAPS.brief_tcp } else { A::MAPS.brief_dgram };
    let cursor = CURSORS.get_ptr_mut(A::BITS / 128 * 4 + u32::from(is_tcp) * 2 + ring)?;
    let at = |turn: u32| (turn * 2 + ring) * LANES.load() + lane;
    // SAFETY: it is this CPU's own, and no other program runs on it meanwhile.
    let turn = unsafe { *cursor };
    let (slot, turn) = match slots.get_ptr_mut(at(turn)) {
        Some(slot) => (slot, turn),
        None => (slots.get_ptr_mut(at(0))?, 0),
    };
    // SAFETY: as above.
    unsafe { *cursor = turn + 1 }
    Some(BriefSlot(slot))
}

/// Says that flows which open make room for as many others.
#[inline(always)]
pub(crate) fn owe_room(flows: u32) {
    if let Some(debt) = DEBT.get_ptr_mut(0) {
        // SAFETY: it is this CPU's own, and no other program runs on it meanwhile.
        unsafe { *debt = flows }
    }
}

/// For how many flows, this one included, a flow that opens has to make room; then one less.
#[inline(always)]
pub(crate) fn owed_room() -> u32 {
    let Some(debt) = DEBT.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    unsafe {
        let owed = *debt;
        if owed != 0 {
            *debt = owed - 1;
        }
        owed
    }
}
