//! The cookie of a network namespace, by which programs at sockets know it.

use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::Error;

/// The cookie of the calling thread's network namespace; `None` on kernels before 5.14, which do not
/// have the socket option. With 0, programs use the initial network namespace of the machine.
///
/// # Errors
/// When a socket cannot be created.
pub fn netns_cookie() -> Result<Option<u64>, Error> {
    const SO_NETNS_COOKIE: i32 = 71;
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)
        .map_err(|errno| Error::Cookie(errno.into()))?;
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the option's value is a number of 64 bits, and that is what it is given room for.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        return Ok(Some(cookie));
    }
    let error = io::Error::last_os_error();
    match Errno::from_io_error(&error) {
        Some(Errno::NOPROTOOPT) => Ok(None),
        _ => Err(Error::Cookie(error)),
    }
}
