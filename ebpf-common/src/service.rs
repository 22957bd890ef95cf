//! Services and their backends.
//!
//! A frontend ([`ServiceKey`]) leads to a [`Service`], which is a range of slots; a slot holds the
//! id of a [`Backend`]. Who changes a Service writes a fresh range and then replaces the one value,
//! so that a packet sees the old set or the new set and never a mixture. A range, or the id of a
//! backend, may be used again only when no packet can still be looking at it.

use crate::unpadded::unpadded;
use crate::{Address, Port};

/// What packets to a Service carry.
///
/// With [`Port::ANY`] and protocol 0 it stands for all that is sent to the address and has no entry
/// of its own: what a Service's address has, so that an unknown port is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct ServiceKey<A> {
    /// The Service's address.
    pub address: A,
    /// The Service's port.
    pub port: Port,
    /// The number of the IP protocol, see [`crate::protocol`].
    pub protocol: u8,
    /// Whose packets this is for, see [`Scope`].
    pub scope: u8,
}

impl<A: Address> ServiceKey<A> {
    /// The key of one port.
    #[inline(always)]
    pub fn new(address: A, port: Port, protocol: u8, scope: Scope) -> Self {
        Self { address, port, protocol, scope: scope as u8 }
    }

    /// The key of everything else that is sent to an address.
    #[inline(always)]
    pub fn unknown_port_guard(address: A, scope: Scope) -> Self {
        Self { address, port: Port::ANY, protocol: 0, scope: scope as u8 }
    }
}

/// Where a packet came from, which decides among which backends it may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// A pod or a process of this node.
    Internal = 0,
    /// Outside of the node, by an uplink. No frontend is written for it yet: programs at uplinks use
    /// [`Scope::Internal`].
    External = 1,
}

/// What to do with a packet to a frontend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Service {
    /// One port of one Service, whichever of its addresses is used: what session affinity and the
    /// flow table know it by. Ids are not reused while anything can remember them; 0 is none.
    pub id: u32,
    /// The first of its slots.
    pub offset: u32,
    /// How many slots it has. None: its packets are rejected, or dropped with
    /// [`Service::DROP_IF_EMPTY`].
    pub count: u32,
    /// Session affinity in seconds; 0 is none.
    pub affinity: u32,
    /// A set of the constants below.
    pub flags: u16,
    /// How a slot is chosen, see [`Algorithm`].
    pub algorithm: u16,
}

impl Service {
    /// Without a backend, drop silently instead of rejecting: there are backends, but
    /// `internalTrafficPolicy: Local` allows none of them.
    pub const DROP_IF_EMPTY: u16 = 1 << 0;
    /// The slots are those of the node's own backends; session affinity then honours
    /// [`Backend::IN_LOCAL_SET`], otherwise [`Backend::IN_CLUSTER_SET`].
    pub const LOCAL_SET: u16 = 1 << 1;
    /// Masquerade every flow, as for `--masquerade-all`.
    pub const MASQUERADE: u16 = 1 << 2;

    /// Whether `flag` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The flag of [`Backend`] that says that a backend may get new flows of this frontend.
    #[inline(always)]
    #[must_use]
    pub const fn set(&self) -> u16 {
        if self.has(Self::LOCAL_SET) {
            Backend::<()>::IN_LOCAL_SET
        } else {
            Backend::<()>::IN_CLUSTER_SET
        }
    }
}

/// How a slot is chosen. The slots themselves can express more (weights, consistent hashing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Algorithm {
    /// Each slot with the same probability.
    Random = 0,
}

/// Where packets of a Service go. An id belongs to one endpoint of one port of one Service
/// ([`Service::id`]), so that its flags speak of that Service alone.
///
/// UDP flows end, and choose again, when their backend is not in the map or is not
/// [`Backend::SERVING`]. TCP flows go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Backend<A> {
    /// The pod's (or node's) address.
    pub address: A,
    /// The port there.
    pub port: Port,
    /// A set of the constants below.
    pub flags: u16,
}

impl<A> Backend<A> {
    /// Flows that it has may go on.
    pub const SERVING: u16 = 1 << 0;
    /// It may get new flows of frontends that choose from the whole cluster.
    pub const IN_CLUSTER_SET: u16 = 1 << 1;
    /// It may get new flows of frontends that choose from the node's own backends.
    pub const IN_LOCAL_SET: u16 = 1 << 2;
}

/// The slot of a Service with `count` slots, evenly for an even `random`. No division, no bias
/// that could be noticed, and always below `count` (0 for 0).
#[inline(always)]
#[must_use]
pub const fn choose_slot(random: u32, count: u32) -> u32 {
    ((random as u64 * count as u64) >> 32) as u32
}

unpadded!(ServiceKey<crate::V4>: crate::V4, Port, u8, u8);
unpadded!(ServiceKey<crate::V6>: crate::V6, Port, u8, u8);
unpadded!(Service: u32, u32, u32, u32, u16, u16);
unpadded!(Backend<crate::V4>: crate::V4, Port, u16);
unpadded!(Backend<crate::V6>: crate::V6, Port, u16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_slot_is_chosen_equally_often() {
        for count in [1, 2, 3, 7, 100] {
            let mut hits = [0_u32; 100];
            for step in 0..10_000_u32 {
                hits[choose_slot(step * (u32::MAX / 10_000), count) as usize] += 1;
            }
            let fair = 10_000 / count;
            for (slot, hits) in hits.iter().enumerate().take(count as usize) {
                assert!(hits.abs_diff(fair) <= 2, "{slot} of {count}: {hits}, not {fair}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_chosen_slot_exists(random: u32, count in 1_u32..) {
            prop_assert!(choose_slot(random, count) < count);
        }
    }
}
