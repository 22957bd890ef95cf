//! Maps that are hash tables.

use std::os::fd::AsFd;

use aya::Pod;
use aya::maps::{HashMap, IterableMap, MapData, MapError};
use weir_ebpf_common::map::{self, Map};
use weir_ebpf_common::{
    Affinity, AffinityKey, Backend, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Service,
    ServiceKey, Socket, SocketKey, V4, V6,
};

use super::access::{absent_is_none, batch_error, failed, read_batches};
use crate::{Error, Pins, batch};

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
/// The devices of pods that may send with addresses of others, each with 1.
pub type Routers = Table<u32, u32>;

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
