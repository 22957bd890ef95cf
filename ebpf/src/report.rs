//! Log lines about packets, for whoever has asked for them.
//!
//! Who loads the programs says up to which level they write (`AYA_LOG_LEVEL`); to the kernel that is
//! a constant, and what is not asked for is no part of the program that runs. What happens to a
//! packet is noted in its CPU's memory, and written when the program is through, because the stack
//! has no room for that before. The first word of a line is the number of a [`Reason`], which its
//! reader has a name for.

use aya_log_ebpf::macro_support::{Level, level_enabled};
use aya_log_ebpf::{debug, info, warn};
use weir_ebpf_common::Reason;

use crate::scratch::{HasScratch, Scratch, scratch};
use crate::skb::Skb;

/// Whether anything is written.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    level_enabled(Level::Warn)
}

/// Notes what becomes of the packet.
#[inline(always)]
pub(crate) fn note<A: HasScratch>(reason: Reason) {
    if is_on()
        && let Some(Scratch { packet, .. }) = scratch::<A>()
    {
        packet.noted = reason as u32 + 1;
    }
}

/// Writes what was noted.
#[inline(always)]
pub(crate) fn write<A: HasScratch>(skb: Skb) {
    if is_on() {
        write_noted::<A>(skb);
    }
}

#[inline(never)]
fn write_noted<A: HasScratch>(skb: Skb) {
    let Some(Scratch { packet, flow, .. }) = scratch::<A>() else { return };
    let (key, noted) = (&packet.key, packet.noted);
    let Some(number) = noted.checked_sub(1) else { return };
    packet.noted = 0;
    if number == Reason::FlowOpened as u32 {
        debug!(
            skb,
            "{} {:i} port {} to {:i} port {} protocol {} at {:i} port {}",
            number,
            key.source.shown(),
            key.source_port.get(),
            key.destination.shown(),
            key.destination_port.get(),
            key.protocol,
            flow.address.shown(),
            flow.port.get()
        );
    } else if number == Reason::RejectedNoBackend as u32 || number == Reason::RejectedNoPort as u32
    {
        info!(
            skb,
            "{} {:i} port {} to {:i} port {} protocol {}",
            number,
            key.source.shown(),
            key.source_port.get(),
            key.destination.shown(),
            key.destination_port.get(),
            key.protocol
        );
    } else {
        warn!(
            skb,
            "{} {:i} port {} to {:i} port {} protocol {}",
            number,
            key.source.shown(),
            key.source_port.get(),
            key.destination.shown(),
            key.destination_port.get(),
            key.protocol
        );
    }
}
