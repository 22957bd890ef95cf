//! Weir's eBPF programs.
//!
//! A Service's address is translated to a backend's where a packet leaves its client and back where
//! the answer reaches it, so that whatever is between sees packets between pods only.
//!
//! | program | runs at | does |
//! |---|---|---|
//! | `from_pod` | TC ingress of the host's end of a pod's veth | translates what the pod sends |
//! | `to_pod` | TC egress of the same device | translates answers back |
//! | `from_overlay` | TC ingress of the tunnel's device | brings packets of other nodes to their pod, past the stack |
//! | `from_uplink` | TC ingress of the devices with the node's addresses | translates what clients outside of the cluster send to cluster IPs |
//! | `to_uplink` | TC egress of the same | translates what they are answered back |
//! | `connect4`, `sendmsg4`, ... | cgroup | give the node's own processes a backend at their socket |
//!
//! Each is written once, for any [`family::Family`] of addresses, and compiled for both. What to do
//! with a packet is a [`verdict::Verdict`]; only that module turns one into what the kernel wants,
//! and counts it. Unsafe code is in [`skb`], [`sockaddr`] and [`maps`] only.

#![no_std]
#![no_main]

mod deliver;
mod family;
mod flow;
mod from_overlay;
mod from_pod;
mod hooks;
mod icmp;
mod maps;
mod packet;
mod plain;
mod reject;
mod report;
mod service;
mod skb;
mod sockaddr;
mod socket;
mod to_pod;
mod translate;
mod uplink;
mod verdict;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use weir_ebpf_common::{V4, V6};

use crate::family::Family;
use crate::skb::Skb;
use crate::verdict::Verdict;

/// What a pod sends.
#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    let skb = Skb::of(&context);
    match skb.protocol() {
        V4::ETHERTYPE => either::<V4>(skb, from_pod_short_v4(skb), from_pod_v4),
        V6::ETHERTYPE => either::<V6>(skb, from_pod_short_v6(skb), from_pod_v6),
        _ => Verdict::NEXT.action(),
    }
}

/// What a pod receives by its node's stack.
#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    let skb = Skb::of(&context);
    match skb.protocol() {
        V4::ETHERTYPE => either::<V4>(skb, to_pod_short_v4(skb), to_pod_v4),
        V6::ETHERTYPE => either::<V6>(skb, to_pod_short_v6(skb), to_pod_v6),
        _ => Verdict::NEXT.action(),
    }
}

/// What other nodes send by the tunnel.
#[classifier]
pub fn from_overlay(context: TcContext) -> i32 {
    let skb = Skb::of(&context);
    match skb.protocol() {
        V4::ETHERTYPE => either::<V4>(skb, from_overlay_short_v4(skb), from_overlay_v4),
        V6::ETHERTYPE => either::<V6>(skb, from_overlay_short_v6(skb), from_overlay_v6),
        _ => Verdict::NEXT.action(),
    }
}

/// What comes from outside of the node.
#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    let skb = Skb::of(&context);
    match skb.protocol() {
        V4::ETHERTYPE => either::<V4>(skb, Verdict::NONE, from_uplink_v4),
        V6::ETHERTYPE => either::<V6>(skb, Verdict::NONE, from_uplink_v6),
        _ => Verdict::NEXT.action(),
    }
}

/// What leaves the node.
#[classifier]
pub fn to_uplink(context: TcContext) -> i32 {
    let skb = Skb::of(&context);
    match skb.protocol() {
        V4::ETHERTYPE => either::<V4>(skb, Verdict::NONE, to_uplink_v4),
        V6::ETHERTYPE => either::<V6>(skb, Verdict::NONE, to_uplink_v6),
        _ => Verdict::NEXT.action(),
    }
}

/// What the short way decided, or else the long one, which also has to tell about it.
#[inline(always)]
fn either<A: Family>(skb: Skb, short: i32, long: impl FnOnce(Skb) -> i32) -> i32 {
    if short != Verdict::NONE {
        return short;
    }
    let action = long(skb);
    report::write::<A>(skb);
    action
}

#[inline(always)]
fn or_none(verdict: Option<Verdict>) -> i32 {
    verdict.map_or(Verdict::NONE, Verdict::action)
}

// Functions of their own, so that the stacks of the families and of both ways do not add up.

#[inline(never)]
fn from_pod_short_v4(skb: Skb) -> i32 {
    or_none(plain::from_pod::<V4>(skb))
}

#[inline(never)]
fn from_pod_short_v6(skb: Skb) -> i32 {
    or_none(plain::from_pod::<V6>(skb))
}

#[inline(never)]
fn to_pod_short_v4(skb: Skb) -> i32 {
    or_none(plain::to_pod::<V4>(skb))
}

#[inline(never)]
fn to_pod_short_v6(skb: Skb) -> i32 {
    or_none(plain::to_pod::<V6>(skb))
}

#[inline(never)]
fn from_overlay_short_v4(skb: Skb) -> i32 {
    or_none(plain::from_overlay::<V4>(skb))
}

#[inline(never)]
fn from_overlay_short_v6(skb: Skb) -> i32 {
    or_none(plain::from_overlay::<V6>(skb))
}

#[inline(never)]
fn from_uplink_v4(skb: Skb) -> i32 {
    uplink::incoming::<V4>(skb).action()
}

#[inline(never)]
fn from_uplink_v6(skb: Skb) -> i32 {
    uplink::incoming::<V6>(skb).action()
}

#[inline(never)]
fn to_uplink_v4(skb: Skb) -> i32 {
    uplink::outgoing::<V4>(skb).action()
}

#[inline(never)]
fn to_uplink_v6(skb: Skb) -> i32 {
    uplink::outgoing::<V6>(skb).action()
}

#[inline(never)]
fn from_pod_v4(skb: Skb) -> i32 {
    from_pod::run::<V4>(skb).action()
}

#[inline(never)]
fn from_pod_v6(skb: Skb) -> i32 {
    from_pod::run::<V6>(skb).action()
}

#[inline(never)]
fn to_pod_v4(skb: Skb) -> i32 {
    to_pod::run::<V4>(skb).action()
}

#[inline(never)]
fn to_pod_v6(skb: Skb) -> i32 {
    to_pod::run::<V6>(skb).action()
}

#[inline(never)]
fn from_overlay_v4(skb: Skb) -> i32 {
    from_overlay::run::<V4>(skb).action()
}

#[inline(never)]
fn from_overlay_v6(skb: Skb) -> i32 {
    from_overlay::run::<V6>(skb).action()
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in here panics: a program that could would not be accepted by the verifier.
    loop {}
}
