//! From a program's entry point to the verdict on a packet.

use aya_ebpf::Global;
use aya_ebpf::programs::TcContext;
use weir_ebpf_common::{V4, V6};

use crate::family::Family;
use crate::full::Full;
use crate::inline::Inline;
use crate::report;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::verdict::{Stop, Verdict};
use crate::view::View;

/// Whether the inline view is left out. Only a test that compares both views says so when it loads the
/// programs; for the kernel it is a constant.
#[unsafe(no_mangle)]
static FULL_VIEW_ONLY: Global<u8> = Global::new(0);

/// A program at a network device.
pub(crate) trait Program {
    /// Whether it is tried with the inline view first.
    const INLINE: bool;

    /// What becomes of a packet.
    fn decide<A: HasScratch, V: View<A>>(skb: Skb) -> Result<Verdict, Stop>;
}

/// Runs a program for the packet's address family.
#[inline(always)]
pub(crate) fn run<P: Program>(context: &TcContext) -> i32 {
    let skb = Skb::of(context);
    match skb.protocol() {
        V4::ETHERTYPE => run_family::<V4, P>(skb),
        V6::ETHERTYPE => run_family::<V6, P>(skb),
        _ => Verdict::NEXT.action(),
    }
}

/// What the inline view decides, or else the full one, which also writes what was noted.
#[inline(always)]
fn run_family<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    if P::INLINE && FULL_VIEW_ONLY.load() == 0 {
        let action = decide_inline::<A, P>(skb);
        if action != Verdict::NONE {
            return action;
        }
    }
    let action = decide_full::<A, P>(skb);
    report::write::<A>(skb);
    action
}

// Functions of their own, so that the stacks of the families and of both views do not add up.

#[inline(never)]
fn decide_inline<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    // A drop is decided again by the full view, which can report it.
    P::decide::<A, Inline<A>>(skb).map_or(Verdict::NONE, Verdict::action)
}

#[inline(never)]
fn decide_full<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    let verdict = match P::decide::<A, Full<A>>(skb) {
        Ok(verdict) => verdict,
        Err(Stop::Drop(reason)) => {
            report::note::<A>(reason);
            Verdict::drop(reason)
        }
        // It is the full view.
        Err(Stop::NeedsFullView) => Verdict::NEXT,
    };
    verdict.action()
}
