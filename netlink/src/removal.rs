//! Deleting a link without waiting for the kernel to free its memory.
//!
//! A link that is deleted disappears within a millisecond: its name is free, its peer, addresses,
//! routes and forwarding entries are gone. The request for it returns later, after the kernel has
//! waited for every reader that could still see the link (`rcu_barrier` in `netdev_run_todo`):
//! some 20 ms in which nothing changes any more. A process that deletes one link and ends, as a CNI
//! plugin does, would spend nearly all of its time there.
//!
//! The request has no flag to skip the wait, and a waiting thread keeps its process from ending. So a
//! forked child sends the request and waits, and the caller continues when the kernel has announced
//! the removal.

use std::{io, os::fd::OwnedFd};

use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage},
    packet_route::{RouteNetlinkMessage, link::LinkMessage},
    sys::{Socket, protocols::NETLINK_ROUTE},
};
use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

use crate::{
    Netlink,
    error::{Cause, Error},
    link,
};

/// Where an acknowledgement has its error number (negative, or 0), behind `struct nlmsghdr`.
const ERROR_OFFSET: usize = 16;

/// An acknowledgement, with the request that it repeats, is shorter than this.
const RESPONSE_MAX: usize = 512;

/// Deletes the link of this name (and with a veth its peer). Returns whether it was there, as soon
/// as nothing can find it any more.
///
/// A child process lives on for some 20 ms; it holds none of the caller's standard streams, and
/// init inherits it if the caller ends first. The caller must not hold a file lock, which the
/// child would keep for as long.
pub async fn delete_unwaited(netlink: &Netlink, name: &str) -> Result<bool, Error> {
    let step = || format!("delete link {name}");
    let Some(found) = link::find(netlink, name).await? else { return Ok(false) };
    let is_removal = |message: &RouteNetlinkMessage| matches!(message, RouteNetlinkMessage::DelLink(link) if link.header.index == found.index);
    let removals = netlink.link_changes(is_removal).map_err(|cause| Error::new(step(), cause))?;
    let result = netlink
        .netns()
        .run(|| request_in_child(found.index))
        .and_then(|outcome| outcome.map_err(|error| Error::new(step(), error)))?;

    let is_gone = async || {
        // Looking it up waits for the lock under which the removal runs.
        let link = link::find_by_index(netlink, found.index).await?;
        Ok(link.is_none().then_some(true))
    };
    let announced = std::pin::pin!(netlink.wait_for_change(removals, step, is_gone));
    let finished = std::pin::pin!(read_result(result));
    match futures_util::future::select(announced, finished).await {
        futures_util::future::Either::Left((outcome, _)) => outcome,
        futures_util::future::Either::Right((outcome, _)) => {
            Error::absent_is_false(outcome.map_err(|cause| Error::new(step(), cause)))
        }
    }
}

/// Forks the child that sends the request. Its result can be read from the returned pipe.
fn request_in_child(index: u32) -> io::Result<OwnedFd> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    let request = serialize(index);
    let (result, child_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // SAFETY: the child only makes system calls on existing objects, and ends. It neither
    // allocates nor takes a lock, so it does not matter what other threads were doing.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => run_child(&socket, &request, &child_end),
        _ => Ok(result),
    }
}

fn serialize(index: u32) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::DelLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn run_child(socket: &Socket, request: &[u8], result: &OwnedFd) -> ! {
    for stream in 0..=2 {
        // SAFETY: nothing in the child uses the standard streams. Open, they would keep the
        // caller's reader waiting for their end.
        unsafe { libc::close(stream) };
    }
    let errno = match request_removal(socket, request) {
        Ok(errno) => errno,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // A caller that has closed the pipe does not need the result.
    let _ = rustix::io::write(result, &errno.to_ne_bytes());
    // SAFETY: ends the child without running the exit handlers of the parent.
    unsafe { libc::_exit(0) }
}

/// Sends the request and waits for the kernel. Returns 0 or the kernel's error number.
fn request_removal(socket: &Socket, request: &[u8]) -> io::Result<i32> {
    socket.send(request, 0)?;
    let mut response = [0_u8; RESPONSE_MAX];
    let length = socket.recv(&mut response.as_mut_slice(), 0)?;
    let number =
        response.get(..length).and_then(|response| response.get(ERROR_OFFSET..ERROR_OFFSET + 4));
    let number = number.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(i32::from_ne_bytes);
    number.map(i32::wrapping_neg).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))
}

async fn read_result(pipe: OwnedFd) -> Result<(), Cause> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let mut number = [0; 4];
    pipe.read_exact(&mut number).await?;
    match i32::from_ne_bytes(number) {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number).into()),
    }
}
