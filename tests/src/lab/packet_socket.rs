//! Sockets for whole frames, as a process with `NET_RAW` may open them (packet(7)).

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use super::stack::Stack;

/// Room for what arrives between two looks, with the kernel's overhead, in bytes.
const BUFFER: usize = 4 << 20;
/// More than any frame of the lab.
const FRAME: usize = 65_536;

/// A socket at an interface that sends frames as they are.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// A socket that sees the frames that come in by an interface, for other machines too.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl PacketSocket {
    /// Opens a socket at an interface of `stack`.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(stack: &impl Stack, link: &str) -> Result<Self> {
        // Without a protocol it receives nothing.
        Ok(Self(open(stack, link, 0)?))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(&self.0, frame, SendFlags::empty()) {
                // The queue of the interface is full.
                Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
                sent => return sent.map(drop).context("send a frame"),
            }
        }
    }
}

impl Tap {
    /// Opens a socket at an interface of `stack`. It sees what arrives from now on.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(stack: &impl Stack, link: &str) -> Result<Self> {
        let every = u16::try_from(libc::ETH_P_ALL).context("a protocol has two bytes")?;
        let socket = open(stack, link, every)?;
        set_socket_recv_buffer_size_force(&socket, BUFFER).context("enlarge the buffer")?;
        set_option(&socket, libc::PACKET_IGNORE_OUTGOING, 1).context("leave out what is sent")?;
        Ok(Self(socket))
    }

    /// The frames that have arrived since the last call.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn received(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0_u8; FRAME];
        loop {
            match recv(&self.0, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    frames.push(buffer.get(..length).unwrap_or_default().to_vec());
                }
                Err(Errno::AGAIN) => return Ok(frames),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("receive a frame"),
            }
        }
    }
}

fn open(stack: &impl Stack, link: &str, protocol: u16) -> Result<OwnedFd> {
    stack.run(|| {
        // Bound before it receives anything, so that it sees frames of this interface only.
        let kind = (AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC);
        let none: Option<Protocol> = None;
        let socket = socket_with(kind.0, kind.1, kind.2, none).context("open a packet socket")?;
        let index = name_to_index(&socket, link).with_context(|| format!("find {link}"))?;
        bind(&socket, c_int::try_from(index)?, protocol).with_context(|| format!("bind {link}"))?;
        Ok(socket)
    })
}

fn bind(socket: &OwnedFd, index: c_int, protocol: u16) -> Result<()> {
    // SAFETY: the structure consists of numbers, for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index;
    let length = u32::try_from(size_of_val(&address))?;
    // SAFETY: the kernel reads `length` bytes at the address, which is that of a structure so large.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ensure!(done == 0, std::io::Error::last_os_error());
    Ok(())
}

fn set_option(socket: &OwnedFd, option: c_int, value: c_int) -> Result<()> {
    let length = u32::try_from(size_of_val(&value))?;
    let (fd, value) = (socket.as_raw_fd(), (&raw const value).cast());
    // SAFETY: the kernel reads `length` bytes at the address, which is that of a number so large.
    let done = unsafe { libc::setsockopt(fd, libc::SOL_PACKET, option, value, length) };
    ensure!(done == 0, std::io::Error::last_os_error());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Node;
    use crate::lab::wait::eventually;

    #[test]
    fn a_tap_sees_frames_that_come_in_and_none_that_go_out() {
        let node = Node::new().unwrap();
        node.add_uplink(1500).unwrap();
        let (near, far) = (Tap::open(&node, "uplink").unwrap(), Tap::open(&node, "wire").unwrap());
        let mut frame = vec![0xff; 12];
        frame.extend([0x88, 0xb5]);
        frame.extend(b"an experimental frame");
        PacketSocket::open(&node, "uplink").unwrap().send(&frame).unwrap();
        let deadline = std::time::Duration::from_secs(5);
        eventually("the frame arrives", deadline, || Ok(far.received()?.contains(&frame))).unwrap();
        assert!(!near.received().unwrap().contains(&frame));
    }
}
