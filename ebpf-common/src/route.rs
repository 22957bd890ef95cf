//! Which addresses belong to the cluster, by longest prefix.

use crate::unpadded::unpadded;

/// What lies behind a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Route<A> {
    /// See [`RouteKind`].
    pub kind: u32,
    /// Remote pods: the device that leads to them, the tunnel's or the uplink. 0: by the stack.
    /// Another node: the uplink by which its packets of the tunnel come in. 0: it sends none.
    pub ifindex: u32,
    /// Remote pods: the largest IP packet that `ifindex` takes.
    pub mtu: u32,
    /// Remote pods: the neighbour on `ifindex` that they are behind.
    pub next_hop: A,
}

/// Kinds of [`Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RouteKind {
    /// Not of the cluster.
    Foreign = 0,
    /// Pods of this node, and its bridge.
    LocalPods = 1,
    /// Pods of another node; a host's tunnel address is one of them.
    RemotePods = 2,
    /// A node's own address.
    Node = 3,
}

impl<A> Route<A> {
    /// Whether it is of this kind. (The number in the map could be one that this version does not
    /// know, so there is no conversion.)
    #[inline(always)]
    pub const fn is(&self, kind: RouteKind) -> bool {
        self.kind == kind as u32
    }
}

unpadded!(Route<crate::V4>: u32, u32, u32, crate::V4);
unpadded!(Route<crate::V6>: u32, u32, u32, crate::V6);
