//! The pods of this node.

use crate::Mac;
use crate::unpadded::unpadded;

/// Where a local pod's address leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Endpoint {
    /// The index of the host's end of its veth.
    pub ifindex: u32,
    /// The hardware address of its own end.
    pub mac: Mac,
    /// Always zero.
    pub reserved: [u8; 2],
}

unpadded!(Endpoint: u32, Mac, [u8; 2]);
