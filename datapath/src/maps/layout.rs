//! The layout of a map: the lengths of its keys and values.

use std::fmt;

use aya::maps::lpm_trie::Key;
use aya::maps::{MapData, MapError, MapInfo};
use weir_ebpf_common::map::{self, Map};
use weir_ebpf_common::{
    Affinity, AffinityKey, Backend, Config, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Route,
    Service, ServiceKey, Socket, SocketKey, V4, V6,
};

/// The lengths of a map's keys and values in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) key: usize,
    pub(crate) value: usize,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys of {} and values of {} bytes", self.key, self.value)
    }
}

impl Layout {
    const fn of<K, V>() -> Self {
        Self { key: size_of::<K>(), value: size_of::<V>() }
    }

    /// The layout of a map of this release.
    pub(crate) fn expected(map: Map) -> Self {
        match map {
            map::SERVICES_V4 => Self::of::<ServiceKey<V4>, Service>(),
            map::SERVICES_V6 => Self::of::<ServiceKey<V6>, Service>(),
            map::BACKENDS_V4 => Self::of::<u32, Backend<V4>>(),
            map::BACKENDS_V6 => Self::of::<u32, Backend<V6>>(),
            map::FLOWS_TCP_V4 | map::FLOWS_DGRAM_V4 => Self::of::<FlowKey<V4>, Flow<V4>>(),
            map::FLOWS_TCP_V6 | map::FLOWS_DGRAM_V6 => Self::of::<FlowKey<V6>, Flow<V6>>(),
            map::BRIEF_TCP_V4 | map::BRIEF_DGRAM_V4 => Self::of::<u32, FlowKey<V4>>(),
            map::BRIEF_TCP_V6 | map::BRIEF_DGRAM_V6 => Self::of::<u32, FlowKey<V6>>(),
            map::AFFINITY_V4 => Self::of::<AffinityKey<V4>, Affinity>(),
            map::AFFINITY_V6 => Self::of::<AffinityKey<V6>, Affinity>(),
            map::ENDPOINTS_V4 => Self::of::<V4, Endpoint>(),
            map::ENDPOINTS_V6 => Self::of::<V6, Endpoint>(),
            map::ROUTES_V4 => Self::of::<Key<V4>, Route<V4>>(),
            map::ROUTES_V6 => Self::of::<Key<V6>, Route<V6>>(),
            map::FRAGMENTS_V4 => Self::of::<FragmentKey<V4>, Fragment>(),
            map::FRAGMENTS_V6 => Self::of::<FragmentKey<V6>, Fragment>(),
            map::SOCKETS_V4 => Self::of::<SocketKey<V4>, Socket<V4>>(),
            map::SOCKETS_V6 => Self::of::<SocketKey<V6>, Socket<V6>>(),
            map::COUNTERS => Self::of::<u32, u64>(),
            map::CONFIG => Self::of::<u32, Config>(),
            _ => Self::of::<u32, u32>(),
        }
    }

    /// The layout of a map in the kernel.
    pub(crate) fn found(info: &MapInfo) -> Self {
        Self { key: info.key_size() as usize, value: info.value_size() as usize }
    }
}

/// The kernel's map, of any type that Weir's maps have.
pub(crate) fn data(map: &aya::maps::Map) -> Result<&MapData, MapError> {
    use aya::maps::Map as Any;
    match map {
        Any::Array(data)
        | Any::HashMap(data)
        | Any::LruHashMap(data)
        | Any::LpmTrie(data)
        | Any::PerCpuArray(data) => Ok(data),
        _ => Err(MapError::InvalidMapType { map_type: 0 }),
    }
}
