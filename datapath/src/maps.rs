//! The maps, each with its types.

use std::os::fd::AsFd;
use std::{fmt, io};

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, IterableMap, LpmTrie, MapData, MapError, PerCpuArray};
use aya::sys::SyscallError;
use weir_ebpf_common::map::{self, Map};
use weir_ebpf_common::{
    Address, Affinity, AffinityKey, Backend, Config, Endpoint, Flow, FlowKey, Fragment,
    FragmentKey, Reason, Route, Service, ServiceKey, Socket, SocketKey, V4, V6,
};

use crate::{Error, Pins, batch};

/// An address family, and which of the maps are its own.
pub trait Family: Address + Pod {
    /// [`map::SERVICES_V4`] or its twin.
    const SERVICES: Map;
    /// [`map::BACKENDS_V4`] or its twin.
    const BACKENDS: Map;
    /// [`map::FLOWS_TCP_V4`] or its twin.
    const FLOWS_TCP: Map;
    /// [`map::FLOWS_ANY_V4`] or its twin.
    const FLOWS_ANY: Map;
    /// [`map::AFFINITY_V4`] or its twin.
    const AFFINITY: Map;
    /// [`map::ENDPOINTS_V4`] or its twin.
    const ENDPOINTS: Map;
    /// [`map::CLUSTER_V4`] or its twin.
    const CLUSTER: Map;
    /// [`map::SOCKETS_V4`] or its twin.
    const SOCKETS: Map;
}

impl Family for V4 {
    const SERVICES: Map = map::SERVICES_V4;
    const BACKENDS: Map = map::BACKENDS_V4;
    const FLOWS_TCP: Map = map::FLOWS_TCP_V4;
    const FLOWS_ANY: Map = map::FLOWS_ANY_V4;
    const AFFINITY: Map = map::AFFINITY_V4;
    const ENDPOINTS: Map = map::ENDPOINTS_V4;
    const CLUSTER: Map = map::CLUSTER_V4;
    const SOCKETS: Map = map::SOCKETS_V4;
}

impl Family for V6 {
    const SERVICES: Map = map::SERVICES_V6;
    const BACKENDS: Map = map::BACKENDS_V6;
    const FLOWS_TCP: Map = map::FLOWS_TCP_V6;
    const FLOWS_ANY: Map = map::FLOWS_ANY_V6;
    const AFFINITY: Map = map::AFFINITY_V6;
    const ENDPOINTS: Map = map::ENDPOINTS_V6;
    const CLUSTER: Map = map::CLUSTER_V6;
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
/// Backends of an address family, by their ids.
pub type Backends<A> = Table<u32, Backend<A>>;
/// Flows of an address family.
pub type Flows<A> = Table<FlowKey<A>, Flow<A>>;
/// Pods of this node by their address.
pub type Endpoints<A> = Table<A, Endpoint>;

impl<K: Pod, V: Pod> Table<K, V> {
    /// Opens the map where it is pinned.
    ///
    /// # Errors
    /// When it is not pinned ([`Error::is_not_found`]), or another kind of map.
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

    /// Adds an entry or replaces its value, at once.
    ///
    /// # Errors
    /// When the map is full ([`Error::is_full`]).
    pub fn set(&mut self, key: &K, value: &V) -> Result<(), Error> {
        self.inner.insert(key, value, 0).map_err(failed("write", self.map))
    }

    /// The same for many at once, in their order. After an error, tells how many were set before it.
    ///
    /// # Errors
    /// When the map is full, or the kernel refuses.
    pub fn set_all(&mut self, keys: &[K], values: &[V]) -> Result<(), (usize, Error)> {
        let map = IterableMap::map(&self.inner).fd();
        batch::update(map.as_fd(), keys, values)
            .map_err(|(done, error)| (done, failed("write", self.map)(batch_error(error))))
    }

    /// Removes an entry; tells whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, key: &K) -> Result<bool, Error> {
        let removed = absent_is_none(self.inner.remove(key));
        Ok(removed.map_err(failed("write", self.map))?.is_some())
    }

    /// Every entry. One that comes or goes meanwhile may be missing or listed twice.
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

/// How many entries a hash table has, of whatever type, and how many it has room for.
///
/// # Errors
/// When it is not pinned, or no hash table.
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
        FLOWS_ANY_V4: FlowKey<V4> => Flow<V4>,
        FLOWS_ANY_V6: FlowKey<V6> => Flow<V6>,
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

/// The slots of all Services.
pub struct Slots(Array<MapData, u32>);

impl Slots {
    /// Opens the map where it is pinned.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        open(pins, map::SLOTS, aya::maps::Map::Array, Array::try_from).map(Self)
    }

    /// How many slots there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.0.len()
    }

    /// Writes the ids of backends from slot `offset` on.
    ///
    /// # Errors
    /// Beyond the last slot.
    pub fn set(&mut self, offset: u32, backends: &[u32]) -> Result<(), Error> {
        for (index, id) in (offset..).zip(backends) {
            self.0.set(index, id, 0).map_err(failed("write", map::SLOTS))?;
        }
        Ok(())
    }

    /// Writes the ids of backends to these slots. After an error, tells how many were written before.
    ///
    /// # Errors
    /// Beyond the last slot.
    pub fn set_all(&mut self, slots: &[u32], backends: &[u32]) -> Result<(), (usize, Error)> {
        let map = IterableMap::map(&self.0).fd();
        batch::update(map.as_fd(), slots, backends)
            .map_err(|(done, error)| (done, failed("write", map::SLOTS)(batch_error(error))))
    }

    /// The id in a slot.
    ///
    /// # Errors
    /// Beyond the last slot.
    pub fn get(&self, index: u32) -> Result<u32, Error> {
        self.0.get(&index, 0).map_err(failed("read", map::SLOTS))
    }

    /// The ids in all slots.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn all(&self) -> Result<Vec<u32>, Error> {
        if let Some(slots) = read_batches::<u32, u32>(IterableMap::map(&self.0), map::SLOTS)? {
            return Ok(slots.into_iter().map(|(_, id)| id).collect());
        }
        (0..self.capacity()).map(|index| self.get(index)).collect()
    }
}

/// The prefixes of the cluster.
#[derive(Debug)]
pub struct Cluster<A> {
    map: Map,
    inner: LpmTrie<MapData, A, Route<A>>,
}

impl<A: Family> Cluster<A> {
    /// Opens the map where it is pinned.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let inner = open(pins, A::CLUSTER, aya::maps::Map::LpmTrie, LpmTrie::try_from)?;
        Ok(Self { map: A::CLUSTER, inner })
    }

    /// Adds a prefix or replaces what is said of it.
    ///
    /// # Errors
    /// When the map is full.
    pub fn set(&mut self, address: A, length: u32, route: &Route<A>) -> Result<(), Error> {
        self.inner.insert(&Key::new(length, address), route, 0).map_err(failed("write", self.map))
    }

    /// Removes a prefix; tells whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, address: A, length: u32) -> Result<bool, Error> {
        let removed = absent_is_none(self.inner.remove(&Key::new(length, address)));
        Ok(removed.map_err(failed("write", self.map))?.is_some())
    }

    /// Every prefix: its address, its length and what is said of it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn entries(&self) -> Result<Vec<(A, u32, Route<A>)>, Error> {
        let entry = |entry: Result<(Key<A>, Route<A>), MapError>| {
            let (key, route) = entry.map_err(failed("list", self.map))?;
            Ok((key.data(), key.prefix_len(), route))
        };
        self.inner.iter().map(entry).collect()
    }

    /// How many prefixes it has room for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn capacity(&self) -> Result<u32, Error> {
        let info = IterableMap::map(&self.inner).info().map_err(failed("look at", self.map))?;
        Ok(info.max_entries())
    }
}

/// Packets by reason.
pub struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    /// Opens the map where it is pinned.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        open(pins, map::COUNTERS, aya::maps::Map::PerCpuArray, PerCpuArray::try_from).map(Self)
    }

    /// How many packets were counted by a reason, since the map was made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self, reason: Reason) -> Result<u64, Error> {
        let values = self.0.get(&(reason as u32), 0).map_err(failed("read", map::COUNTERS))?;
        Ok(values.iter().sum())
    }
}

/// What programs are told.
pub struct SettingsMap(Array<MapData, Config>);

impl SettingsMap {
    /// Opens the map where it is pinned.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        open(pins, map::SETTINGS, aya::maps::Map::Array, Array::try_from).map(Self)
    }

    /// What they are told now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self) -> Result<Config, Error> {
        self.0.get(&0, 0).map_err(failed("read", map::SETTINGS))
    }

    /// Tells them something else.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&mut self, settings: Config) -> Result<(), Error> {
        self.0.set(0, settings, 0).map_err(failed("write", map::SETTINGS))
    }
}

/// The lengths of a map's keys and values in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    key: usize,
    value: usize,
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys of {} and values of {} bytes", self.key, self.value)
    }
}

/// What the types of a map say.
pub(crate) fn sizes(map: Map) -> Sizes {
    fn of<K, V>() -> Sizes {
        Sizes { key: size_of::<K>(), value: size_of::<V>() }
    }
    match map {
        map::SERVICES_V4 => of::<ServiceKey<V4>, Service>(),
        map::SERVICES_V6 => of::<ServiceKey<V6>, Service>(),
        map::BACKENDS_V4 => of::<u32, Backend<V4>>(),
        map::BACKENDS_V6 => of::<u32, Backend<V6>>(),
        map::FLOWS_TCP_V4 | map::FLOWS_ANY_V4 => of::<FlowKey<V4>, Flow<V4>>(),
        map::FLOWS_TCP_V6 | map::FLOWS_ANY_V6 => of::<FlowKey<V6>, Flow<V6>>(),
        map::AFFINITY_V4 => of::<AffinityKey<V4>, Affinity>(),
        map::AFFINITY_V6 => of::<AffinityKey<V6>, Affinity>(),
        map::ENDPOINTS_V4 => of::<V4, Endpoint>(),
        map::ENDPOINTS_V6 => of::<V6, Endpoint>(),
        map::CLUSTER_V4 => of::<Key<V4>, Route<V4>>(),
        map::CLUSTER_V6 => of::<Key<V6>, Route<V6>>(),
        map::FRAGMENTS_V4 => of::<FragmentKey<V4>, Fragment>(),
        map::FRAGMENTS_V6 => of::<FragmentKey<V6>, Fragment>(),
        map::SOCKETS_V4 => of::<SocketKey<V4>, Socket<V4>>(),
        map::SOCKETS_V6 => of::<SocketKey<V6>, Socket<V6>>(),
        map::COUNTERS => of::<u32, u64>(),
        map::SETTINGS => of::<u32, Config>(),
        _ => of::<u32, u32>(),
    }
}

/// What the kernel says, and how many entries there is room for.
pub(crate) fn found_sizes(map: &aya::maps::Map, name: &'static str) -> Result<(Sizes, u32), Error> {
    use aya::maps::Map as Any;
    let failed = |source| Error::Map { action: "look at", name, source: Box::new(source) };
    let data = match map {
        Any::Array(data)
        | Any::HashMap(data)
        | Any::LruHashMap(data)
        | Any::LpmTrie(data)
        | Any::PerCpuArray(data) => data,
        _ => return Err(failed(MapError::InvalidMapType { map_type: 0 })),
    };
    let info = data.info().map_err(failed)?;
    let sizes = Sizes { key: info.key_size() as usize, value: info.value_size() as usize };
    Ok((sizes, info.max_entries()))
}

fn open<T>(
    pins: &Pins,
    map: Map,
    kind: impl FnOnce(MapData) -> aya::maps::Map,
    typed: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    MapData::from_pin(pins.map(map)).and_then(|data| typed(kind(data))).map_err(failed("open", map))
}

/// Every entry, if the kernel reads this kind of map in pieces.
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
