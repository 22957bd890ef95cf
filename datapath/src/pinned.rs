//! Opening a pinned program with two system calls.
//!
//! `aya` asks the kernel for everything that it may know or lack before it hands out the first program:
//! some twenty calls, among them programs to verify, which a plugin that runs for two milliseconds would
//! make for every pod.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Commands of `bpf` (linux/bpf.h).
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// `BPF_PROG_TYPE_SCHED_CLS`: a program for network devices.
const SCHED_CLS: u32 = 3;

/// The arguments of `OBJ_GET`, as the kernel lays them out.
#[repr(C)]
struct Get {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The arguments of `OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Look {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of what the kernel tells of a program.
#[derive(Default)]
#[repr(C)]
struct Info {
    kind: u32,
    id: u32,
}

const INFO_LENGTH: u32 = 8;
const _: () = assert!(size_of::<Info>() == INFO_LENGTH as usize);

/// Opens a pinned program for network devices; gives its descriptor and the kernel's number of it.
pub(crate) fn open(path: &Path) -> io::Result<(OwnedFd, u32)> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut get = Get { path: name.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
    // SAFETY: the kernel reads the path, which ends with a zero and lives until then.
    let fd = unsafe { bpf(OBJ_GET, &mut get) }?;
    // SAFETY: the kernel has just given it to this process, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = Info::default();
    let mut look = Look {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: INFO_LENGTH,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: the kernel writes as many bytes as it is told there are.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut look) }?;
    // Of a map the kernel tells its type and number in the same place: a hash map would pass for a
    // program of type 1, and no type of map that is pinned here for one of type 3.
    if info.kind != SCHED_CLS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no program for network devices"));
    }
    Ok((fd, info.id))
}

/// Calls the kernel.
///
/// # Safety
/// Whatever the arguments point to has to be there for the kernel, in the way that the command wants.
unsafe fn bpf<T>(command: libc::c_long, arguments: &mut T) -> io::Result<RawFd> {
    // SAFETY: the caller's promise; the arguments are as long as the kernel is told.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(arguments).cast::<libc::c_void>(),
            size_of::<T>(),
        )
    };
    match RawFd::try_from(outcome) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}
