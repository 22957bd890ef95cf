//! The maps: the contract between programs and daemons, and between releases of both.
//!
//! A map is pinned under its name and the version of its layout. A release that needs another name
//! or layout raises the version. It takes over what an earlier release has pinned under the old one:
//! see the module `upgrade` of the crate `weir-datapath`, which lists the old names and layouts.

/// A map of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    /// Its name in the object, and in the kernel, which keeps 15 characters.
    pub name: &'static str,
    /// Raised with every change of its name, keys, values or type.
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
    /// Hash: [`crate::FlowKey`] to [`crate::Flow`] of TCP.
    FLOWS_TCP_V4 = 3;
    /// The same for IPv6.
    FLOWS_TCP_V6 = 3;
    /// Hash: [`crate::FlowKey`] to [`crate::Flow`] of UDP and SCTP.
    FLOWS_DGRAM_V4 = 4;
    /// The same for IPv6.
    FLOWS_DGRAM_V6 = 4;
    /// Array, used as rings: [`crate::FlowKey`] of flows in [`FLOWS_TCP_V4`] that are not established
    /// or are closed.
    BRIEF_TCP_V4 = 1;
    /// The same for IPv6.
    BRIEF_TCP_V6 = 1;
    /// Array, used as rings: [`crate::FlowKey`] of flows in [`FLOWS_DGRAM_V4`] that are no streams.
    BRIEF_DGRAM_V4 = 1;
    /// The same for IPv6.
    BRIEF_DGRAM_V6 = 1;
    /// Array per CPU: where it is in each of these rings.
    CURSORS = 1;
    /// Hash: the index of a pod's device, if the pod may send with addresses of others, to 1.
    ROUTERS = 1;
    /// LRU: [`crate::AffinityKey`] to [`crate::Affinity`].
    AFFINITY_V4 = 1;
    /// The same for IPv6.
    AFFINITY_V6 = 1;
    /// Hash: the address of a local pod to [`crate::Endpoint`].
    ENDPOINTS_V4 = 1;
    /// The same for IPv6.
    ENDPOINTS_V6 = 1;
    /// Longest prefix: an address to [`crate::Route`].
    ROUTES_V4 = 2;
    /// The same for IPv6.
    ROUTES_V6 = 2;
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
    CONFIG = 2;
}

/// The version that the pins of programs have in their names.
///
/// Raised together with the layout of any map. A plugin or tool of another release then does not find
/// the programs, and cannot mix them with maps that it does not know. Version 1 was pinned without a
/// version in its names.
pub const PROGRAMS: u8 = 3;

/// How many entries a map has room for, unless options say otherwise.
pub mod capacity {
    /// Frontends of a family.
    pub const SERVICES: u32 = 65_536;
    /// Slots of all Services, twice what is in use at a time: a change writes a fresh range.
    pub const SLOTS: u32 = 524_288;
    /// Backends of a family.
    pub const BACKENDS: u32 = 262_144;
    /// Entries of flows; a flow has two.
    pub const FLOWS: u32 = 262_144;
    /// Flows that are not established or are closed, in two rings: half of what the table has room for.
    pub const BRIEF: u32 = FLOWS / 4;
    /// Clients with session affinity.
    pub const AFFINITY: u32 = 65_536;
    /// Pods of a node.
    pub const ENDPOINTS: u32 = 4_096;
    /// Prefixes of the cluster.
    pub const ROUTES: u32 = 16_384;
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

    /// When this fails: raise [`PROGRAMS`], tell `upgrade` in `weir-datapath` what to do with the old
    /// map, and write the new number here.
    #[test]
    fn a_map_with_another_name_or_layout_needs_another_version_of_the_programs() {
        // FNV-1a.
        let byte = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let map = |hash, map: &Map| byte(map.name.bytes().fold(hash, byte), map.layout);
        assert_eq!((PROGRAMS, ALL.iter().fold(0x811c_9dc5, map)), (3, 3_075_403_548));
    }
}
