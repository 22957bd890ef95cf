//! Reading a map in batches.
//!
//! aya's iterators make two system calls per entry. `BPF_MAP_LOOKUP_BATCH` (Linux 5.6) reads a
//! hundred thousand entries with some dozens of calls.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use aya::Pod;
use aya::maps::MapData;
use rustix::io::Errno;

use crate::maps::layout::Layout;
use crate::syscall::bpf;

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// The size of the first batch, in entries.
const ENTRIES: u32 = 4096;
/// A bucket of a hash table must fit into a batch, and no bucket is larger than this.
const MOST: u32 = 1 << 20;
/// `ENOTSUPP`, an error number internal to the kernel: this type of map has no batches.
const NOT_SUPPORTED: i32 = 524;

/// The part of `union bpf_attr` that the command takes.
#[repr(C)]
struct Request {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where the next batch begins. The kernel writes four bytes for hash tables and arrays.
type Position = u32;

/// Every entry of a hash table or an array, or `None` if the kernel cannot read it in batches.
///
/// `K` and `V` must be as long as the map's keys and values, which opening the map has checked.
pub(crate) fn entries<K: Pod, V: Pod>(map: &MapData) -> io::Result<Option<Vec<(K, V)>>> {
    let layout = Layout { key: size_of::<K>(), value: size_of::<V>() };
    let Some(bytes) = bytes(map, layout)? else { return Ok(None) };
    let entry = |(key, value): (&[u8], &[u8])| {
        // SAFETY: each is as long as its type, and any bytes are a `Pod`.
        unsafe {
            (key.as_ptr().cast::<K>().read_unaligned(), value.as_ptr().cast::<V>().read_unaligned())
        }
    };
    Ok(Some(bytes.iter().map(entry).collect()))
}

/// Keys and values, one after the other.
pub(crate) struct Bytes {
    layout: Layout,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Bytes {
    /// Each key with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys.chunks_exact(self.layout.key).zip(self.values.chunks_exact(self.layout.value))
    }
}

/// As [`entries`], for a map whose layout is known only when the program runs.
pub(crate) fn bytes(map: &MapData, layout: Layout) -> io::Result<Option<Bytes>> {
    let mut all = Bytes { layout, keys: Vec::new(), values: Vec::new() };
    let mut batch = Batch::new(layout, ENTRIES);
    let mut position: Option<Position> = None;
    loop {
        let mut next: Position = 0;
        let outcome = batch.read(map, position.as_ref(), &mut next);
        match outcome {
            Ok(()) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => {
                    batch.append_to(&mut all);
                    return Ok(Some(all));
                }
                Some(Errno::NOSPC) if batch.room < MOST => {
                    batch = Batch::new(layout, batch.room * 2);
                    continue;
                }
                Some(Errno::INVAL) if position.is_none() => return Ok(None),
                _ if error.raw_os_error() == Some(NOT_SUPPORTED) => return Ok(None),
                _ => return Err(error),
            },
        }
        batch.append_to(&mut all);
        position = Some(next);
    }
}

/// Room for some entries.
struct Batch {
    layout: Layout,
    room: u32,
    filled: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Batch {
    fn new(layout: Layout, room: u32) -> Self {
        let length = room as usize;
        let (keys, values) = (vec![0; length * layout.key], vec![0; length * layout.value]);
        Self { layout, room, filled: 0, keys, values }
    }

    fn read(
        &mut self,
        map: &MapData,
        position: Option<&Position>,
        next: &mut Position,
    ) -> io::Result<()> {
        let fd = map.fd().as_fd().as_raw_fd();
        #[expect(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
        let mut request = Request {
            in_batch: position.map_or(0, |position| ptr::from_ref(position) as u64),
            out_batch: ptr::from_mut(next) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: self.room,
            map_fd: fd as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values, which have room for as many,
        // and a position; it reads a position. All of them live until the call returns.
        let outcome = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut request) };
        let ended = outcome.as_ref().err().and_then(Errno::from_io_error) == Some(Errno::NOENT);
        let has_entries = outcome.is_ok() || ended;
        self.filled = if has_entries { request.count.min(self.room) as usize } else { 0 };
        outcome.map(|_| ())
    }

    fn append_to(&self, all: &mut Bytes) {
        all.keys.extend(self.keys.iter().take(self.filled * self.layout.key));
        all.values.extend(self.values.iter().take(self.filled * self.layout.value));
    }
}
