//! From a program's entry point to the verdict on a packet.

use aya_ebpf::Global;
use aya_ebpf::programs::TcContext;
use weir_ebpf_common::{Config, Flow, V4, V6};

use crate::family::Family;
use crate::full::Full;
use crate::inline::Inline;
use crate::scratch::HasScratch;
use crate::skb::Skb;
use crate::verdict::{Stop, Verdict};
use crate::view::View;
use crate::{deferred, maps, report};

/// Whether the inline view is left out. Only a test that compares both views says so when it loads the
/// programs; for the kernel it is a constant.
#[unsafe(no_mangle)]
static FULL_VIEW_ONLY: Global<u8> = Global::new(0);

/// A program at a network device.
pub(crate) trait Program {
    /// Whether it is tried with the inline view first.
    const INLINE: bool;

    /// Whether it opens flows.
    const OPENS: bool = false;

    /// The view of a packet that the program has to do with.
    #[inline(always)]
    fn view<A: HasScratch, V: View<A>>(skb: Skb, _config: &Config) -> Option<(V, V::Slot)> {
        V::new(skb)
    }

    /// What becomes of a packet.
    fn decide<A: HasScratch, V: View<A>>(
        skb: Skb,
        config: &Config,
        view: &mut V,
        slot: &mut V::Slot,
    ) -> Result<Verdict, Stop>;

    /// What becomes of a packet that has opened a flow. The inline view goes on with it from the
    /// decision, and the full view from outside of it, so that the verifier need not follow what opens a
    /// flow from each way that leads there.
    #[inline(always)]
    fn opened<A: HasScratch, V: View<A>>(
        _skb: Skb,
        _config: &Config,
        _view: &V,
        _flow: &Flow<A>,
    ) -> Result<Verdict, Stop> {
        Ok(Verdict::NEXT)
    }

    /// What becomes of a packet that is not IP.
    #[inline(always)]
    fn decide_other(_skb: Skb) -> Verdict {
        Verdict::NEXT
    }
}

/// Runs a program for the packet's address family.
#[inline(always)]
pub(crate) fn run<P: Program>(context: &TcContext) -> i32 {
    let skb = Skb::of(context);
    match skb.protocol() {
        V4::ETHERTYPE => run_family::<V4, P>(skb),
        V6::ETHERTYPE => run_family::<V6, P>(skb),
        _ => P::decide_other(skb).action(),
    }
}

/// What the inline view decides, or else the full one, which also writes what was noted.
#[inline(always)]
fn run_family<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    let mut action = Verdict::NONE;
    if P::INLINE && FULL_VIEW_ONLY.load() == 0 {
        action = decide_inline::<A, P>(skb);
    }
    if action == Verdict::NONE {
        action = decide_full::<A, P>(skb);
        if P::OPENS && action == Verdict::OPENS {
            action = open_full::<A, P>(skb);
        }
        report::write::<A>(skb);
    }
    if action >= Verdict::DEFERRED {
        deferred::run::<A>();
        action -= Verdict::DEFERRED + 1;
    }
    action
}

// Functions of their own, so that the stacks of the families and of both views do not add up.

#[inline(never)]
fn decide_inline<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    let Some(config) = maps::config() else { return Verdict::NEXT.action() };
    let Some((mut view, mut slot)) = P::view::<A, Inline<A>>(skb, config) else {
        return Verdict::NONE;
    };
    // A drop is decided again by the full view, which can report it.
    match P::decide(skb, config, &mut view, &mut slot) {
        Ok(verdict) => with_deferred(verdict, &view),
        Err(_) => Verdict::NONE,
    }
}

#[inline(never)]
fn decide_full<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    let Some(config) = maps::config() else { return Verdict::NEXT.action() };
    let Some((mut view, mut slot)) = P::view::<A, Full<A>>(skb, config) else {
        return Verdict::NEXT.action();
    };
    finish(P::decide(skb, config, &mut view, &mut slot), &view)
}

#[inline(never)]
fn open_full<A: HasScratch, P: Program>(skb: Skb) -> i32 {
    let Some(config) = maps::config() else { return Verdict::NEXT.action() };
    let Some((view, flow)) = Full::<A>::new(skb) else { return Verdict::NEXT.action() };
    let opened = view.open_now(skb, flow).map_err(Stop::from);
    finish(opened.and_then(|()| P::opened(skb, config, &view, flow)), &view)
}

/// The action of what the full view has decided.
#[inline(always)]
fn finish<A: HasScratch>(decision: Result<Verdict, Stop>, view: &Full<A>) -> i32 {
    let verdict = match decision {
        Ok(verdict) => verdict,
        Err(Stop::Drop(reason)) => {
            report::note::<A>(reason);
            Verdict::drop(reason)
        }
        Err(Stop::Opens) => return Verdict::OPENS,
        // It is the full view.
        Err(Stop::NeedsFullView) => Verdict::NEXT,
    };
    with_deferred(verdict, view)
}

/// The action of a verdict, with a word about what is left to do.
#[inline(always)]
fn with_deferred<A: HasScratch, V: View<A>>(verdict: Verdict, view: &V) -> i32 {
    if view.has_deferred() { verdict.deferred() } else { verdict.action() }
}
