//! Weir's eBPF programs.
//!
//! A Service's address is translated to a backend's (DNAT) where a packet leaves its client and back
//! where the reply reaches it, so that whatever is between sees packets between pods only.
//!
//! | program | runs at | does |
//! |---|---|---|
//! | `from_pod` | TC ingress of the host's end of a pod's veth | DNAT of what the pod sends |
//! | `to_pod` | TC egress of the same device | reverse NAT of replies |
//! | `from_overlay` | TC ingress of the tunnel's device | brings packets of other nodes to their pod, bypassing the stack |
//! | `from_uplink` | TC ingress of the devices with the node's addresses | DNAT of what clients outside of the cluster send to cluster IPs |
//! | `to_uplink` | TC egress of the same | reverse NAT of the replies to them |
//! | `connect4`, `sendmsg4`, ... | cgroup | give the node's own processes a backend at their socket |
//!
//! Each is written once, for any [`family::Family`] of addresses and any [`view::View`] of the packet,
//! and compiled for all ([`program`]). What to do with a packet is a [`verdict::Verdict`]; only that
//! module turns one into what the kernel wants, and counts it. Unsafe code is in [`skb`],
//! [`sockaddr`], [`maps`] and [`scratch`] only.

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    unreachable_pub,
    clippy::needless_pass_by_value,
    reason = "aya's macros make a public function without docs of each entry point, and pass the context"
)]

mod affinity;
mod brief;
mod deferred;
mod deliver;
mod family;
mod flow;
mod fragment;
mod from_overlay;
mod from_pod;
mod full;
mod hooks;
mod icmp;
mod inline;
mod maps;
mod nat;
mod opening;
mod packet;
mod program;
mod reject;
mod report;
mod scratch;
mod service;
mod skb;
mod sockaddr;
mod socket;
mod source;
mod to_pod;
mod uplink;
mod verdict;
mod view;
mod work;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::from_overlay::FromOverlay;
use crate::from_pod::FromPod;
use crate::program::run;
use crate::to_pod::ToPod;
use crate::uplink::{FromUplink, ToUplink};

/// What a pod sends.
#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    run::<FromPod>(&context)
}

/// What a pod receives by its node's stack.
#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    run::<ToPod>(&context)
}

/// What other nodes send by the tunnel.
#[classifier]
pub fn from_overlay(context: TcContext) -> i32 {
    run::<FromOverlay>(&context)
}

/// What comes from outside of the node.
#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    run::<FromUplink>(&context)
}

/// What leaves the node.
#[classifier]
pub fn to_uplink(context: TcContext) -> i32 {
    run::<ToUplink>(&context)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in here panics: a program that could would not be accepted by the verifier.
    loop {}
}
