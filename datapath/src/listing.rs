//! Reading a map in large pieces.
//!
//! A map of a hundred thousand entries is two calls for each of them with the iterators that aya
//! has, and some dozens with `BPF_MAP_LOOKUP_BATCH` (Linux 5.6).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use aya::Pod;
use aya::maps::MapData;
use rustix::io::Errno;

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
/// How many entries are asked for at first.
const ENTRIES: u32 = 4096;
/// A bucket of a hash table has to fit as a whole, and no bucket is so large.
const MOST: u32 = 1 << 20;
/// `ENOTSUPP`, which the kernel has for itself: no batches of this kind of map.
const NOT_SUPPORTED: i32 = 524;

/// The part of `union bpf_attr` that the call takes.
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

/// Where the kernel goes on: it writes four bytes for hash tables and arrays, whose key has four.
type Position = u32;

/// Every entry of a hash table or an array, or nothing if the kernel has no batches of it.
///
/// `K` and `V` must be as long as the map's keys and values, which opening it has checked.
pub(crate) fn entries<K: Pod, V: Pod>(map: &MapData) -> io::Result<Option<Vec<(K, V)>>> {
    let mut all = Vec::new();
    let mut piece = Piece::new(ENTRIES);
    let mut position: Option<Position> = None;
    loop {
        let mut next: Position = 0;
        let outcome = piece.read(map, position.as_ref(), &mut next);
        match outcome {
            Ok(()) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => {
                    all.extend(piece.entries());
                    return Ok(Some(all));
                }
                Some(Errno::NOSPC) if piece.room < MOST => {
                    piece = Piece::new(piece.room * 2);
                    continue;
                }
                Some(Errno::INVAL) if position.is_none() => return Ok(None),
                _ if error.raw_os_error() == Some(NOT_SUPPORTED) => return Ok(None),
                _ => return Err(error),
            },
        }
        all.extend(piece.entries());
        position = Some(next);
    }
}

/// Room for some entries.
struct Piece<K, V> {
    room: u32,
    filled: usize,
    keys: Vec<MaybeUninit<K>>,
    values: Vec<MaybeUninit<V>>,
}

impl<K: Pod, V: Pod> Piece<K, V> {
    fn new(room: u32) -> Self {
        let length = room as usize;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        keys.resize_with(length, MaybeUninit::uninit);
        values.resize_with(length, MaybeUninit::uninit);
        Self { room, filled: 0, keys, values }
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
        // and a position; it reads a position. All of it lives until the call is over.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                ptr::from_mut(&mut request),
                size_of::<Request>(),
            )
        };
        let error = io::Error::last_os_error();
        let ended = result == 0 || Errno::from_io_error(&error) == Some(Errno::NOENT);
        self.filled = if ended { request.count.min(self.room) as usize } else { 0 };
        if result == 0 { Ok(()) } else { Err(error) }
    }

    fn entries(&self) -> impl Iterator<Item = (K, V)> + '_ {
        // SAFETY: so many were written, and any bytes are a `Pod`.
        let entry = |(key, value): (&MaybeUninit<K>, &MaybeUninit<V>)| unsafe {
            (key.assume_init(), value.assume_init())
        };
        self.keys.iter().zip(&self.values).take(self.filled).map(entry)
    }
}
