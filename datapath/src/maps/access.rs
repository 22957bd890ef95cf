//! Opening maps, and the errors of reading and writing them.

use std::io;

use aya::Pod;
use aya::maps::{MapData, MapError};
use aya::sys::SyscallError;
use weir_ebpf_common::map::Map;

use crate::{Error, Pins};

pub(super) fn open<T>(
    pins: &Pins,
    map: Map,
    kind: impl FnOnce(MapData) -> aya::maps::Map,
    typed: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    MapData::from_pin(pins.map(map)).and_then(|data| typed(kind(data))).map_err(failed("open", map))
}

/// Every entry, if the kernel can read this type of map in batches.
pub(super) fn read_batches<K: Pod, V: Pod>(
    data: &MapData,
    map: Map,
) -> Result<Option<Vec<(K, V)>>, Error> {
    crate::listing::entries(data).map_err(|io_error| {
        let source = SyscallError { call: "BPF_MAP_LOOKUP_BATCH", io_error };
        failed("list", map)(source.into())
    })
}

pub(super) fn failed(action: &'static str, map: Map) -> impl Fn(MapError) -> Error {
    move |source| Error::Map { action, name: map.name, source: Box::new(source) }
}

pub(super) fn batch_error(io_error: io::Error) -> MapError {
    MapError::SyscallError(SyscallError { call: "bpf_map_update_batch", io_error })
}

pub(super) fn absent_is_none<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
