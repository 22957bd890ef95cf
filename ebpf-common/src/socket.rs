//! Sockets of the node's own processes, which are translated when they connect or send, not packet
//! by packet.

use crate::Port;
use crate::unpadded::unpadded;

/// A socket and one address that it talks to: the Service's in the forward direction, the backend's
/// in the reverse one ([`crate::Direction`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SocketKey<A> {
    /// The kernel's cookie of the socket, low half first.
    pub cookie: [u32; 2],
    /// The address.
    pub address: A,
    /// The port.
    pub port: Port,
    /// The number of the IP protocol.
    pub protocol: u8,
    /// See [`crate::Direction`].
    pub direction: u8,
}

/// Forward: the backend that it was given. Reverse: the Service that the process sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Socket<A> {
    /// The address.
    pub address: A,
    /// The port.
    pub port: Port,
    /// Always zero.
    pub reserved: [u8; 2],
    /// The backend's id.
    pub backend: u32,
    /// The Service's id.
    pub service: u32,
}

unpadded!(SocketKey<crate::V4>: [u32; 2], crate::V4, Port, u8, u8);
unpadded!(SocketKey<crate::V6>: [u32; 2], crate::V6, Port, u8, u8);
unpadded!(Socket<crate::V4>: crate::V4, Port, [u8; 2], u32, u32);
unpadded!(Socket<crate::V6>: crate::V6, Port, [u8; 2], u32, u32);
