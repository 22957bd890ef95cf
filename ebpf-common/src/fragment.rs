//! Fragments of datagrams: only the first has ports, the others look them up.

use crate::Port;
use crate::unpadded::unpadded;

/// The datagram that a fragment belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey<A> {
    /// Source address, before translation.
    pub source: A,
    /// Destination address, before translation.
    pub destination: A,
    /// The identification that its fragments share, as in the packet.
    pub id: u32,
    /// The number of the IP protocol.
    pub protocol: u8,
    /// Where it is seen, see [`Hook`]: the same datagram can pass several.
    pub hook: u8,
    /// Always zero.
    pub reserved: [u8; 2],
}

/// A place that a datagram's fragments pass, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    /// On its way out of a pod.
    FromPod = 0,
    /// On its way into a pod.
    ToPod = 1,
    /// On its way in from outside of the node.
    FromUplink = 2,
    /// On its way out of the node.
    ToUplink = 3,
}

/// The ports of the first fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Fragment {
    /// Source port, before translation.
    pub source_port: Port,
    /// Destination port, before translation.
    pub destination_port: Port,
}

unpadded!(FragmentKey<crate::V4>: crate::V4, crate::V4, u32, u8, u8, [u8; 2]);
unpadded!(FragmentKey<crate::V6>: crate::V6, crate::V6, u32, u8, u8, [u8; 2]);
unpadded!(Fragment: Port, Port);
