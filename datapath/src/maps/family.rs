//! Which maps belong to an address family.

use aya::Pod;
use weir_ebpf_common::map::{self, Map};
use weir_ebpf_common::{Address, V4, V6};

/// An address family, with the maps of that family.
pub trait Family: Address + Pod {
    /// [`map::SERVICES_V4`] or the map of the other family.
    const SERVICES: Map;
    /// [`map::BACKENDS_V4`] or the map of the other family.
    const BACKENDS: Map;
    /// [`map::FLOWS_TCP_V4`] or the map of the other family.
    const FLOWS_TCP: Map;
    /// [`map::FLOWS_DGRAM_V4`] or the map of the other family.
    const FLOWS_DGRAM: Map;
    /// [`map::BRIEF_TCP_V4`] or the map of the other family.
    const BRIEF_TCP: Map;
    /// [`map::BRIEF_DGRAM_V4`] or the map of the other family.
    const BRIEF_DGRAM: Map;
    /// [`map::AFFINITY_V4`] or the map of the other family.
    const AFFINITY: Map;
    /// [`map::ENDPOINTS_V4`] or the map of the other family.
    const ENDPOINTS: Map;
    /// [`map::ROUTES_V4`] or the map of the other family.
    const ROUTES: Map;
    /// [`map::SOCKETS_V4`] or the map of the other family.
    const SOCKETS: Map;
}

impl Family for V4 {
    const SERVICES: Map = map::SERVICES_V4;
    const BACKENDS: Map = map::BACKENDS_V4;
    const FLOWS_TCP: Map = map::FLOWS_TCP_V4;
    const FLOWS_DGRAM: Map = map::FLOWS_DGRAM_V4;
    const BRIEF_TCP: Map = map::BRIEF_TCP_V4;
    const BRIEF_DGRAM: Map = map::BRIEF_DGRAM_V4;
    const AFFINITY: Map = map::AFFINITY_V4;
    const ENDPOINTS: Map = map::ENDPOINTS_V4;
    const ROUTES: Map = map::ROUTES_V4;
    const SOCKETS: Map = map::SOCKETS_V4;
}

impl Family for V6 {
    const SERVICES: Map = map::SERVICES_V6;
    const BACKENDS: Map = map::BACKENDS_V6;
    const FLOWS_TCP: Map = map::FLOWS_TCP_V6;
    const FLOWS_DGRAM: Map = map::FLOWS_DGRAM_V6;
    const BRIEF_TCP: Map = map::BRIEF_TCP_V6;
    const BRIEF_DGRAM: Map = map::BRIEF_DGRAM_V6;
    const AFFINITY: Map = map::AFFINITY_V6;
    const ENDPOINTS: Map = map::ENDPOINTS_V6;
    const ROUTES: Map = map::ROUTES_V6;
    const SOCKETS: Map = map::SOCKETS_V6;
}
