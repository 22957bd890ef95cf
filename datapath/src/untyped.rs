//! Maps whose types are not known: those that an earlier release has pinned.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use aya::maps::{MapData, MapError, MapType};
use rustix::io::Errno;

use crate::Error;
use crate::listing;
use crate::maps::layout::Layout;
use crate::syscall::bpf;

/// Commands of `bpf` (linux/bpf.h).
const LOOKUP_ELEM: libc::c_long = 1;
const UPDATE_ELEM: libc::c_long = 2;
const GET_NEXT_KEY: libc::c_long = 4;
/// Flags of `UPDATE_ELEM`: any entry, and only one that is not there.
const ANY: u64 = 0;
const NOEXIST: u64 = 1;

/// The part of `union bpf_attr` that commands for one entry take.
#[repr(C)]
struct Element {
    map_fd: u32,
    reserved: u32,
    key: u64,
    /// The value, or the next key.
    other: u64,
    flags: u64,
}

/// A map and what the kernel says of it.
pub(crate) struct UntypedMap {
    name: &'static str,
    data: MapData,
    pub(crate) id: u32,
    pub(crate) layout: Layout,
    kind: MapType,
    capacity: u32,
}

impl UntypedMap {
    /// Opens a pinned map; `None` if it is not there.
    pub(crate) fn open(path: &Path, name: &'static str) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Map { action: "open", name, source: Box::new(source) };
        // aya's error says nothing of a pin that is missing when its path leads to a folder.
        if !path.exists() {
            return Ok(None);
        }
        let data = MapData::from_pin(path).map_err(failed)?;
        let info = data.info().map_err(failed)?;
        let kind = info.map_type().map_err(failed)?;
        let (id, layout, capacity) = (info.id(), Layout::found(&info), info.max_entries());
        Ok(Some(Self { name, data, id, layout, kind, capacity }))
    }

    /// How many entries it has room for.
    pub(crate) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Pins it at one more place.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), Error> {
        self.data.pin(path).map_err(|source| Error::Pin { path: path.to_owned(), source })
    }

    /// Calls `visit` with the key and value of every entry, until it returns false. An entry that is
    /// added or removed meanwhile may be missing or visited twice.
    pub(crate) fn for_each(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let failed = |error| self.failed("list", error);
        // For other types the kernel writes a position that is longer.
        if matches!(self.kind, MapType::Hash | MapType::LruHash | MapType::Array)
            && let Some(entries) = listing::bytes(&self.data, self.layout).map_err(failed)?
        {
            for (key, value) in entries.iter() {
                if !visit(key, value)? {
                    return Ok(());
                }
            }
            return Ok(());
        }
        let mut key = None;
        // When the entry of `key` is removed meanwhile, the kernel begins anew.
        for _ in 0..u64::from(self.capacity) * 2 {
            let Some(next) = self.next_key(key.as_deref()).map_err(failed)? else { return Ok(()) };
            if let Some(value) = self.get(&next).map_err(failed)?
                && !visit(&next, &value)?
            {
                return Ok(());
            }
            key = Some(next);
        }
        Ok(())
    }

    /// Adds an entry if there is none with this key. Returns whether it was added. An element of an
    /// array counts as absent while all its bytes are zero.
    ///
    /// # Errors
    /// When the map is full ([`Error::is_full`]), or the lengths are not those of its layout.
    pub(crate) fn add(&self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        let failed = |error| self.failed("write", error);
        if (Layout { key: key.len(), value: value.len() }) != self.layout {
            return Err(failed(Errno::INVAL.into()));
        }
        let mut flags = NOEXIST;
        if self.kind == MapType::Array {
            let found = self.get(key).map_err(failed)?;
            if found.is_none_or(|found| found.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
            flags = ANY;
        }
        let mut element = self.element(key, value.as_ptr(), flags);
        // SAFETY: the kernel reads a key and a value, which are as long as the map's.
        match unsafe { bpf(UPDATE_ELEM, &mut element) } {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.layout.value];
        let mut element = self.element(key, value.as_mut_ptr(), 0);
        // SAFETY: the kernel reads a key and writes a value, which are as long as the map's: the
        // maps that are read here are not per CPU.
        found(unsafe { bpf(LOOKUP_ELEM, &mut element) }).map(|found| found.map(|()| value))
    }

    fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.layout.key];
        let mut element = self.element(key.unwrap_or_default(), next.as_mut_ptr(), 0);
        if key.is_none() {
            element.key = 0;
        }
        // SAFETY: the kernel reads a key, if there is one, and writes one.
        found(unsafe { bpf(GET_NEXT_KEY, &mut element) }).map(|found| found.map(|()| next))
    }

    fn element(&self, key: &[u8], other: *const u8, flags: u64) -> Element {
        Element {
            map_fd: self.data.fd().as_fd().as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: key.as_ptr().expose_provenance() as u64,
            other: other.expose_provenance() as u64,
            flags,
        }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> Error {
        Error::Map { action, name: self.name, source: Box::new(MapError::IoError(error)) }
    }

    /// Whether its entries can be read and written here: those of maps per CPU are longer than
    /// their layout says.
    pub(crate) fn has_plain_values(&self) -> bool {
        matches!(self.kind, MapType::Hash | MapType::LruHash | MapType::Array | MapType::LpmTrie)
    }
}

fn found(outcome: io::Result<i32>) -> io::Result<Option<()>> {
    match outcome {
        Ok(_) => Ok(Some(())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
