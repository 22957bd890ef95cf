//! The pods of this node.

use crate::Mac;
use crate::unpadded::unpadded;

/// Where a local pod's address leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Endpoint {
    /// The index of the host's end of its veth.
    pub ifindex: u32,
    /// The MAC address of its own end.
    pub mac: Mac,
    /// Its network namespace, see [`Endpoint::netns`].
    pub netns: u16,
}

impl Endpoint {
    /// The field for a namespace that has this number in the node's. None, or one that is too large,
    /// is 0: its sockets are not looked at.
    #[must_use]
    pub fn netns_field(number: Option<u32>) -> u16 {
        number.and_then(|number| u16::try_from(number).ok()?.checked_add(1)).unwrap_or(0)
    }

    /// The number of the pod's network namespace in the node's, if it is known.
    #[inline(always)]
    #[must_use]
    pub const fn netns(&self) -> Option<u32> {
        match self.netns {
            0 => None,
            field => Some(field as u32 - 1),
        }
    }
}

unpadded!(Endpoint: u32, Mac, u16);
