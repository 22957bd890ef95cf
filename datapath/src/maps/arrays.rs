//! The maps that are arrays: slots, counters and the configuration.

use std::os::fd::AsFd;

use aya::maps::{Array, IterableMap, MapData, PerCpuArray};
use weir_ebpf_common::map;
use weir_ebpf_common::{Config, Reason};

use super::access::{batch_error, failed, open, read_batches};
use crate::{Error, Pins, batch};

/// The slots of all Services.
pub struct Slots(Array<MapData, u32>);

impl Slots {
    /// Opens the pinned map.
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

    /// Writes the ids of backends, starting at slot `offset`.
    ///
    /// # Errors
    /// Beyond the last slot.
    pub fn set(&mut self, offset: u32, backends: &[u32]) -> Result<(), Error> {
        for (index, id) in (offset..).zip(backends) {
            self.0.set(index, id, 0).map_err(failed("write", map::SLOTS))?;
        }
        Ok(())
    }

    /// Writes the ids of backends to these slots, in one system call. An error comes with the number
    /// of slots that were written before it.
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
/// Counters of packets, by reason.
pub struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        open(pins, map::COUNTERS, aya::maps::Map::PerCpuArray, PerCpuArray::try_from).map(Self)
    }

    /// The number of packets with this reason, since the map was created.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self, reason: Reason) -> Result<u64, Error> {
        let values = self.0.get(&(reason as u32), 0).map_err(failed("read", map::COUNTERS))?;
        Ok(values.iter().sum())
    }
}

/// The configuration of the programs.
pub struct ConfigMap(Array<MapData, Config>);

impl ConfigMap {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        open(pins, map::CONFIG, aya::maps::Map::Array, Array::try_from).map(Self)
    }

    /// The current configuration.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self) -> Result<Config, Error> {
        self.0.get(&0, 0).map_err(failed("read", map::CONFIG))
    }

    /// Replaces the configuration.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&mut self, settings: Config) -> Result<(), Error> {
        self.0.set(0, settings, 0).map_err(failed("write", map::CONFIG))
    }
}
