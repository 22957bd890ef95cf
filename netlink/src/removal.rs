//! Deleting a link without waiting for the kernel to free its memory.
//!
//! A link that is deleted disappears within a millisecond: its name is free, its peer, addresses,
//! routes and forwarding entries are gone. The request for it returns later, after the kernel has
//! waited for every reader that could still see the link (`rcu_barrier` in `netdev_run_todo`):
//! some 20 ms in which nothing changes any more. Whoever deletes one link and ends, as a CNI plugin
//! does, would spend nearly all of its time there.
//!
//! No flag of the request says not to wait, and a thread that waits keeps its process from ending.
//! So a copy of the process sends the request and waits, and this one goes on when the kernel has
//! announced the removal.

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

/// An acknowledgement with the request that it repeats is shorter than this.
const ANSWER_MAX: usize = 512;

/// Deletes the link of this name (and with a veth its peer). Returns whether it was there, as soon
/// as nothing can find it any more.
///
/// A child process lives on for some 20 ms; it holds no file of the caller's standard streams, and
/// is inherited by init if the caller ends first. The caller must not hold a file lock, which the
/// child would keep for as long.
pub async fn delete_unwaited(netlink: &Netlink, name: &str) -> Result<bool, Error> {
    let step = || format!("delete link {name}");
    let Some(found) = link::find(netlink, name).await? else { return Ok(false) };
    let is_removal = |message: &RouteNetlinkMessage| matches!(message, RouteNetlinkMessage::DelLink(link) if link.header.index == found.index);
    let removals = netlink.link_changes(is_removal).map_err(|cause| Error::new(step(), cause))?;
    let answer = netlink
        .netns()
        .run(|| request_in_child(found.index))
        .and_then(|outcome| outcome.map_err(|error| Error::new(step(), error)))?;

    let is_gone = async || {
        // Looking it up waits for the lock under which the removal runs.
        let link = link::find_by_index(netlink, found.index).await?;
        Ok(link.is_none().then_some(true))
    };
    let announced = std::pin::pin!(netlink.wait_for_change(removals, step, is_gone));
    let answered = std::pin::pin!(read_answer(answer));
    match futures_util::future::select(announced, answered).await {
        futures_util::future::Either::Left((outcome, _)) => outcome,
        futures_util::future::Either::Right((outcome, _)) => {
            Error::absent_is_false(outcome.map_err(|cause| Error::new(step(), cause)))
        }
    }
}

/// Starts the copy of this process that makes the request; its answer can be read from the pipe.
fn request_in_child(index: u32) -> io::Result<OwnedFd> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    let request = serialize(index);
    let (answer, child_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // SAFETY: the child makes nothing but system calls on what exists already, and ends. It neither
    // allocates nor takes a lock, so it does not matter what other threads were doing.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => run_child(&socket, &request, &child_end),
        _ => Ok(answer),
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

fn run_child(socket: &Socket, request: &[u8], answer: &OwnedFd) -> ! {
    for stream in 0..=2 {
        // SAFETY: the caller's standard streams belong to nobody in this copy of the process. Open,
        // they would keep the caller's reader waiting for their end.
        unsafe { libc::close(stream) };
    }
    let errno = match ask(socket, request) {
        Ok(errno) => errno,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // If nobody reads any more, there is nobody to tell.
    let _ = rustix::io::write(answer, &errno.to_ne_bytes());
    // SAFETY: ends the copy without running what the original has registered for its exit.
    unsafe { libc::_exit(0) }
}

/// Sends the request and waits until the kernel is done; 0 or the kernel's error number.
fn ask(socket: &Socket, request: &[u8]) -> io::Result<i32> {
    socket.send(request, 0)?;
    let mut answer = [0_u8; ANSWER_MAX];
    let length = socket.recv(&mut answer.as_mut_slice(), 0)?;
    let number = answer.get(..length).and_then(|answer| answer.get(ERROR_OFFSET..ERROR_OFFSET + 4));
    let number = number.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(i32::from_ne_bytes);
    number.map(i32::wrapping_neg).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))
}

async fn read_answer(answer: OwnedFd) -> Result<(), Cause> {
    let mut answer = Receiver::from_owned_fd(answer)?;
    let mut number = [0; 4];
    answer.read_exact(&mut number).await?;
    match i32::from_ne_bytes(number) {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number).into()),
    }
}
