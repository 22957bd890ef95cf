//! Offloads of a link, by the ethtool requests that every kernel knows.

use std::{io, os::fd::AsRawFd};

use rustix::net::{AddressFamily, SocketType, socket};

use crate::Error;

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GTXCSUM` and `ETHTOOL_STXCSUM` of `linux/ethtool.h`.
const GET_TX_CHECKSUM: u32 = 0x16;
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Makes a link compute the checksums of what it sends (`true`) or leave that to the kernel.
/// Returns whether this changed the setting. The calling thread must be in the link's network namespace.
pub fn ensure_tx_checksum(name: &str, on: bool) -> Result<bool, Error> {
    let step = || format!("set the TX checksum offload of {name}");
    let mut value = Value { command: GET_TX_CHECKSUM, data: 0 };
    request(name, &mut value).map_err(|error| Error::new(step(), error))?;
    if (value.data != 0) == on {
        return Ok(false);
    }
    let mut value = Value { command: SET_TX_CHECKSUM, data: u32::from(on) };
    request(name, &mut value).map_err(|error| Error::new(step(), error))?;
    Ok(true)
}

fn request(name: &str, value: &mut Value) -> io::Result<()> {
    let control = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: all bytes zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let length = request.ifr_name.len() - 1;
    if name.len() > length {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (target, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *target = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast();
    // SAFETY: the kernel reads and writes one ethtool_value behind the pointer, for the commands
    // above, and does not keep it. `value` outlives the call.
    let outcome = unsafe { libc::ioctl(control.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
