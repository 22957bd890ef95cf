//! Pins by the system calls that they need, and no more.
//!
//! aya probes the kernel's features before it opens the first program: some twenty calls, among them
//! programs to verify. The plugin runs for two milliseconds per pod and does without them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::syscall::bpf;

/// Commands of `bpf` (linux/bpf.h).
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// `BPF_PROG_TYPE_SCHED_CLS`: a program for network devices.
const SCHED_CLS: u32 = 3;

/// The arguments of `OBJ_PIN` and `OBJ_GET`, as the kernel lays them out.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The arguments of `OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Default)]
#[repr(C)]
struct Info {
    kind: u32,
    id: u32,
}

const INFO_LENGTH: u32 = 8;
const _: () = assert!(size_of::<Info>() == INFO_LENGTH as usize);

/// Opens what is pinned: a program, a map or a link.
pub(crate) fn get(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut get = Object { path: name.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
    // SAFETY: the kernel reads the path, which ends with a zero and lives until then.
    let fd = unsafe { bpf(OBJ_GET, &mut get) }?;
    // SAFETY: the kernel has just given it to this process, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a program, a map or a link.
pub(crate) fn pin(object: &impl AsFd, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let fd = object.as_fd().as_raw_fd().cast_unsigned();
    let mut pin = Object { path: name.as_ptr().expose_provenance() as u64, fd, flags: 0 };
    // SAFETY: the kernel reads the path, which ends with a zero and lives until then.
    unsafe { bpf(OBJ_PIN, &mut pin) }.map(|_| ())
}

/// Opens a pinned program for network devices. Returns its descriptor and the kernel's ID of it.
pub(crate) fn open(path: &Path) -> io::Result<(OwnedFd, u32)> {
    let fd = get(path)?;
    let mut info = Info::default();
    let mut request = InfoByFd {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: INFO_LENGTH,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: the kernel writes as many bytes as it is told there are.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut request) }?;
    // `struct bpf_map_info` has the type and ID of a map in the same place. None of the maps that are
    // pinned here is of type 3.
    if info.kind != SCHED_CLS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a program for network devices",
        ));
    }
    Ok((fd, info.id))
}
