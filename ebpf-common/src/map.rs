//! The maps: the contract between programs and daemons, and between versions of both.
//!
//! A map is pinned under its name and the version of its layout. A version that needs another
//! layout makes a new map beside the old one and carries over what it can.

/// A map of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    /// Its name in the object; the kernel shows it, and keeps 15 characters.
    pub name: &'static str,
    /// Counted up with every change of its keys, values or type.
    pub layout: u8,
}

macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident = $layout:literal;)+) => {
        $($(#[$doc])* pub const $name: Map = Map { name: stringify!($name), layout: $layout };)+

        /// Every map of the object.
        pub const ALL: &[Map] = &[$($name),+];
    };
}

maps! {
    /// Hash: [`crate::ServiceKey`] to [`crate::Service`].
    SERVICES_V4 = 1;
    /// The same for IPv6.
    SERVICES_V6 = 1;
    /// Array: a slot to the id of a backend. Both families share it.
    SLOTS = 1;
    /// Hash: an id to [`crate::Backend`].
    BACKENDS_V4 = 1;
    /// The same for IPv6.
    BACKENDS_V6 = 1;
    /// LRU: [`crate::FlowKey`] to [`crate::Flow`], apart from other protocols, which anybody can
    /// open flows of at will.
    FLOWS_TCP_V4 = 2;
    /// The same for IPv6.
    FLOWS_TCP_V6 = 2;
    /// LRU: [`crate::FlowKey`] to [`crate::Flow`] of UDP and SCTP.
    FLOWS_ANY_V4 = 2;
    /// The same for IPv6.
    FLOWS_ANY_V6 = 2;
    /// LRU: [`crate::AffinityKey`] to [`crate::Affinity`].
    AFFINITY_V4 = 1;
    /// The same for IPv6.
    AFFINITY_V6 = 1;
    /// Hash: the address of a local pod to [`crate::Endpoint`].
    ENDPOINTS_V4 = 1;
    /// The same for IPv6.
    ENDPOINTS_V6 = 1;
    /// Longest prefix: an address to [`crate::Route`].
    CLUSTER_V4 = 1;
    /// The same for IPv6.
    CLUSTER_V6 = 1;
    /// LRU: [`crate::FragmentKey`] to [`crate::Fragment`].
    FRAGMENTS_V4 = 1;
    /// The same for IPv6.
    FRAGMENTS_V6 = 1;
    /// LRU: [`crate::SocketKey`] to [`crate::Socket`].
    SOCKETS_V4 = 1;
    /// The same for IPv6.
    SOCKETS_V6 = 1;
    /// Array per CPU: [`crate::Reason`] to packets.
    COUNTERS = 1;
    /// Array of one: [`crate::Config`].
    SETTINGS = 1;
}

/// How many entries a map has room for, unless settings say otherwise.
pub mod capacity {
    /// Frontends of a family.
    pub const SERVICES: u32 = 65_536;
    /// Slots of all Services, twice what is in use at a time: a change writes a fresh range.
    pub const SLOTS: u32 = 524_288;
    /// Backends of a family.
    pub const BACKENDS: u32 = 262_144;
    /// Entries of flows; a flow has two.
    pub const FLOWS: u32 = 262_144;
    /// Clients with session affinity.
    pub const AFFINITY: u32 = 65_536;
    /// Pods of a node.
    pub const ENDPOINTS: u32 = 4_096;
    /// Prefixes of the cluster.
    pub const CLUSTER: u32 = 16_384;
    /// Datagrams that are under way in fragments.
    pub const FRAGMENTS: u32 = 8_192;
    /// Sockets of the node's processes; a socket has two entries for each Service.
    pub const SOCKETS: u32 = 65_536;
    /// Counters, with room for reasons that later versions have.
    pub const COUNTERS: u32 = 64;
}

const _: () = assert!(crate::Reason::ALL.len() <= capacity::COUNTERS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_can_show_every_name() {
        for map in ALL {
            assert!(map.name.len() <= 15, "{}", map.name);
        }
    }
}
