//! Writing many entries of a map in one system call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::Pod;

use crate::syscall::bpf;

/// `BPF_MAP_UPDATE_BATCH` of `linux/bpf.h`: 5.6 and later.
const UPDATE: libc::c_long = 26;

/// The arguments of the call, as the kernel lays them out.
#[derive(Default)]
#[repr(C)]
struct Arguments {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Sets entries in order. The map must not be per CPU. An error comes with the number of entries that
/// were set before it.
pub(crate) fn update<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> Result<(), (usize, io::Error)> {
    let wanted = keys.len().min(values.len());
    let failed = |error: rustix::io::Errno| (0, error.into());
    let mut arguments = Arguments {
        keys: keys.as_ptr().expose_provenance() as u64,
        values: values.as_ptr().expose_provenance() as u64,
        count: u32::try_from(wanted).map_err(|_| failed(rustix::io::Errno::TOOBIG))?,
        map: map.as_raw_fd().cast_unsigned(),
        ..Arguments::default()
    };
    // SAFETY: the kernel reads as many keys and values as there are, each of the length that the map
    // has, which `load` has compared with that of these types; it writes to `arguments` only.
    match unsafe { bpf(UPDATE, &mut arguments) } {
        Ok(_) => Ok(()),
        Err(error) => Err(((arguments.count as usize).min(wanted), error)),
    }
}
