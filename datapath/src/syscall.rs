//! The system call `bpf`, where aya has no function for a command or makes more calls than needed.

use std::io;
use std::os::fd::RawFd;

/// Calls the kernel. Returns what it returns: a descriptor, or 0.
///
/// # Safety
/// `arguments` must be laid out as `command` expects, and what it points to must live until the call
/// returns, with as much room as the command reads and writes.
pub(crate) unsafe fn bpf<T>(command: libc::c_long, arguments: &mut T) -> io::Result<RawFd> {
    // SAFETY: the caller's promise; the kernel is told how long the arguments are.
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
