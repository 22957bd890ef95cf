//! The maps, each with its types.

mod arrays;
pub(crate) mod layout;
mod routes;

use std::io;
use std::os::fd::AsFd;

use aya::Pod;
use aya::maps::{HashMap, IterableMap, MapData, MapError};
use aya::sys::SyscallError;
use weir_ebpf_common::map::{self, Map};
use weir_ebpf_common::{
    Address, Affinity, AffinityKey, Backend, Endpoint, Flow, FlowKey, Fragment, FragmentKey,
    Service, ServiceKey, Socket, SocketKey, V4, V6,
};

pub use self::arrays::{ConfigMap, Counters, Slots};
pub use self::routes::Routes;
use crate::{Error, Pins, batch};

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
    const AFFINITY: Map = map::AFFINITY_V6;
    const ENDPOINTS: Map = map::ENDPOINTS_V6;
    const ROUTES: Map = map::ROUTES_V6;
    const SOCKETS: Map = map::SOCKETS_V6;
}

/// A hash map.
#[derive(Debug)]
pub struct Table<K, V> {
    map: Map,
    inner: HashMap<MapData, K, V>,
}

/// Frontends of an address family.
pub type Services<A> = Table<ServiceKey<A>, Service>;
/// Backends of an address family, by id.
pub type Backends<A> = Table<u32, Backend<A>>;
/// Flows of an address family.
pub type Flows<A> = Table<FlowKey<A>, Flow<A>>;
/// Pods of this node, by address.
pub type Endpoints<A> = Table<A, Endpoint>;

impl<K: Pod, V: Pod> Table<K, V> {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// When it is not pinned ([`Error::is_not_found`]), or is not a hash map.
    pub fn open(pins: &Pins, map: Map) -> Result<Self, Error> {
        let inner = aya::maps::Map::HashMap;
        let lru = aya::maps::Map::LruHashMap;
        let failed = failed("open", map);
        let data = MapData::from_pin(pins.map(map)).map_err(&failed)?;
        let kind = data.info().and_then(|info| info.map_type()).map_err(&failed)?;
        let any = if kind == aya::maps::MapType::LruHash { lru(data) } else { inner(data) };
        Ok(Self { map, inner: HashMap::try_from(any).map_err(failed)? })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        absent_is_none(self.inner.get(key, 0)).map_err(failed("read", self.map))
    }

    /// Adds an entry or replaces its value atomically.
    ///
    /// # Errors
    /// When the map is full ([`Error::is_full`]).
    pub fn set(&mut self, key: &K, value: &V) -> Result<(), Error> {
        self.inner.insert(key, value, 0).map_err(failed("write", self.map))
    }

    /// Sets many entries in order, in one system call. An error comes with the number of entries that
    /// were set before it.
    ///
    /// # Errors
    /// When the map is full, or the kernel refuses.
    pub fn set_all(&mut self, keys: &[K], values: &[V]) -> Result<(), (usize, Error)> {
        let map = IterableMap::map(&self.inner).fd();
        batch::update(map.as_fd(), keys, values)
            .map_err(|(done, error)| (done, failed("write", self.map)(batch_error(error))))
    }

    /// Removes an entry. Returns whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, key: &K) -> Result<bool, Error> {
        let removed = absent_is_none(self.inner.remove(key));
        Ok(removed.map_err(failed("write", self.map))?.is_some())
    }

    /// Every entry. An entry that is added or removed meanwhile may be missing or listed twice.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        let data = IterableMap::map(&self.inner);
        if let Some(entries) = read_batches(data, self.map)? {
            return Ok(entries);
        }
        let mut entries = Vec::new();
        for key in self.inner.keys() {
            let key = key.map_err(failed("list", self.map))?;
            if let Some(value) = self.get(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// How many entries it has room for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn capacity(&self) -> Result<u32, Error> {
        let info = IterableMap::map(&self.inner).info().map_err(failed("look at", self.map))?;
        Ok(info.max_entries())
    }
}

/// How many entries a hash map of any type has, and how many it has room for.
///
/// # Errors
/// When it is not pinned, or is not a hash map.
pub fn fill(pins: &Pins, map: Map) -> Result<(usize, u32), Error> {
    macro_rules! fill {
        ($($map:ident: $key:ty => $value:ty,)+) => {
            match map {
                $(map::$map => {
                    let table = Table::<$key, $value>::open(pins, map)?;
                    Ok((table.entries()?.len(), table.capacity()?))
                })+
                _ => Err(failed("count", map)(MapError::InvalidMapType { map_type: 0 })),
            }
        };
    }
    fill! {
        SERVICES_V4: ServiceKey<V4> => Service,
        SERVICES_V6: ServiceKey<V6> => Service,
        BACKENDS_V4: u32 => Backend<V4>,
        BACKENDS_V6: u32 => Backend<V6>,
        FLOWS_TCP_V4: FlowKey<V4> => Flow<V4>,
        FLOWS_TCP_V6: FlowKey<V6> => Flow<V6>,
        FLOWS_DGRAM_V4: FlowKey<V4> => Flow<V4>,
        FLOWS_DGRAM_V6: FlowKey<V6> => Flow<V6>,
        AFFINITY_V4: AffinityKey<V4> => Affinity,
        AFFINITY_V6: AffinityKey<V6> => Affinity,
        ENDPOINTS_V4: V4 => Endpoint,
        ENDPOINTS_V6: V6 => Endpoint,
        FRAGMENTS_V4: FragmentKey<V4> => Fragment,
        FRAGMENTS_V6: FragmentKey<V6> => Fragment,
        SOCKETS_V4: SocketKey<V4> => Socket<V4>,
        SOCKETS_V6: SocketKey<V6> => Socket<V6>,
    }
}

fn open<T>(
    pins: &Pins,
    map: Map,
    kind: impl FnOnce(MapData) -> aya::maps::Map,
    typed: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    MapData::from_pin(pins.map(map)).and_then(|data| typed(kind(data))).map_err(failed("open", map))
}

/// Every entry, if the kernel can read this type of map in batches.
fn read_batches<K: Pod, V: Pod>(data: &MapData, map: Map) -> Result<Option<Vec<(K, V)>>, Error> {
    crate::listing::entries(data).map_err(|io_error| {
        let source = SyscallError { call: "BPF_MAP_LOOKUP_BATCH", io_error };
        failed("list", map)(source.into())
    })
}

fn failed(action: &'static str, map: Map) -> impl Fn(MapError) -> Error {
    move |source| Error::Map { action, name: map.name, source: Box::new(source) }
}

fn batch_error(io_error: io::Error) -> MapError {
    MapError::SyscallError(SyscallError { call: "bpf_map_update_batch", io_error })
}

fn absent_is_none<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
