//! The routes to the cluster, by longest prefix.

use aya::maps::lpm_trie::Key;
use aya::maps::{IterableMap, LpmTrie, MapData, MapError};
use weir_ebpf_common::Route;
use weir_ebpf_common::map::Map;

use super::access::{absent_is_none, failed, open};
use super::family::Family;
use crate::{Error, Pins};

/// Routes to the prefixes of the cluster.
#[derive(Debug)]
pub struct Routes<A> {
    map: Map,
    inner: LpmTrie<MapData, A, Route<A>>,
}

impl<A: Family> Routes<A> {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let inner = open(pins, A::ROUTES, aya::maps::Map::LpmTrie, LpmTrie::try_from)?;
        Ok(Self { map: A::ROUTES, inner })
    }

    /// Adds the route of a prefix, or replaces it.
    ///
    /// # Errors
    /// When the map is full.
    pub fn set(&mut self, address: A, length: u32, route: &Route<A>) -> Result<(), Error> {
        self.inner.insert(&Key::new(length, address), route, 0).map_err(failed("write", self.map))
    }

    /// Removes the route of a prefix. Returns whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, address: A, length: u32) -> Result<bool, Error> {
        let removed = absent_is_none(self.inner.remove(&Key::new(length, address)));
        Ok(removed.map_err(failed("write", self.map))?.is_some())
    }

    /// Every route: the address and length of its prefix, and the route itself.
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

    /// How many routes it has room for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn capacity(&self) -> Result<u32, Error> {
        let info = IterableMap::map(&self.inner).info().map_err(failed("look at", self.map))?;
        Ok(info.max_entries())
    }
}
