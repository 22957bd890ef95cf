//! What the agent tells all programs.

use crate::unpadded::unpadded;

/// The one value of the config map. A program without it passes everything on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Config {
    /// The cookie of the node's network namespace, whose processes are translated at the socket;
    /// low half first. 0 is the namespace that the machine has started with, which is the node's
    /// wherever it is not made for a test.
    pub netns_cookie: [u32; 2],
    /// A set of the constants below.
    pub flags: u32,
    /// The bit of `skb->mark` that asks for masquerading.
    pub masquerade_mark: u32,
    /// The bit of `skb->mark` that forbids it.
    pub reply_mark: u32,
    /// The bit of `skb->mark` that asks for a rejection by the kernel.
    pub reject_mark: u32,
    /// The UDP port of the tunnel.
    pub tunnel_port: u32,
    /// After how many idle seconds the next packet of a UDP flow chooses anew; 0 is never.
    pub udp_idle: u32,
}

impl Config {
    /// Packets between pods skip the host's stack.
    pub const FAST_PATH: u32 = 1 << 0;
    /// A pod sends with its own addresses only, and nobody else with them.
    pub const SOURCE_CHECK: u32 = 1 << 1;

    /// The bits of `skb->mark` that admit a packet to the tunnel's port: no other packet has both.
    #[inline(always)]
    #[must_use]
    pub const fn admission_mark(&self) -> u32 {
        self.reply_mark | self.reject_mark
    }

    /// Whether `flag` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// A cookie of the kernel's as maps hold it: low half first.
#[inline(always)]
#[must_use]
pub const fn halves(cookie: u64) -> [u32; 2] {
    [(cookie & 0xffff_ffff) as u32, (cookie >> 32) as u32]
}

unpadded!(Config: [u32; 2], u32, u32, u32, u32, u32, u32);
