//! What the kernel announces about routes, neighbours and forwarding entries, with the time.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use weir_tests::lab::Stack;

/// Links, neighbours (of bridges and tunnels too), IPv4 routes.
const GROUPS: u32 = 0x1 | 0x4 | 0x40;
const BUFFER: usize = 64 << 20;
/// The longest silence.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number that marks the agent's routes.
const PROTOCOL: u8 = 87;
const PERMANENT: u16 = 0x80;

/// Something that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    LinkGone,
    Route,
    RouteGone,
    /// A permanent neighbour, or a forwarding entry.
    Neighbour,
    NeighbourGone,
}

/// A listener in one node.
#[derive(Debug)]
pub(crate) struct Notices {
    socket: OwnedFd,
    waiting: Vec<Notice>,
}

impl Notices {
    pub(crate) fn of(node: &impl Stack) -> Result<Self> {
        let socket = node.run(|| {
            // No protocol is protocol 0, that of routes and links.
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            set_socket_recv_buffer_size_force(&socket, BUFFER)?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(socket)
        });
        let socket = socket.context("listen to the kernel's notices")?;
        Ok(Self { socket, waiting: Vec::new() })
    }

    /// Waits for so many of those that are `wanted`; gives the times of the first and of the last.
    pub(crate) fn wait(
        &mut self,
        count: u32,
        wanted: impl Fn(Notice) -> bool,
    ) -> Result<(Instant, Instant)> {
        let mut first = None;
        let mut left = count;
        let mut now = Instant::now();
        while left > 0 {
            if self.waiting.is_empty() {
                self.receive().with_context(|| format!("{left} of {count} notices are missing"))?;
                now = Instant::now();
            }
            // What comes after the last wanted one stays for the next call.
            let mut taken = 0;
            for notice in &self.waiting {
                taken += 1;
                if wanted(*notice) {
                    first.get_or_insert(now);
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
            }
            self.waiting.drain(..taken);
        }
        Ok((first.unwrap_or(now), now))
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0_u8; 64 << 10];
        let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((length, kind, body)) = message(rest) {
            self.waiting.extend(read(kind, body));
            rest = rest.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            bail!("half a message from the kernel");
        }
        Ok(())
    }
}

/// The first message: its padded length, its kind and its body.
fn message(bytes: &[u8]) -> Option<(usize, u16, &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((length.next_multiple_of(4).min(bytes.len()), kind, bytes.get(16..length)?))
}

fn read(kind: u16, body: &[u8]) -> Option<Notice> {
    let is_ours = || body.get(5) == Some(&PROTOCOL);
    let is_permanent = || {
        let state = body.get(8..10)?.try_into().ok()?;
        Some(u16::from_ne_bytes(state) & PERMANENT != 0)
    };
    match kind {
        17 => Some(Notice::LinkGone),
        24 if is_ours() => Some(Notice::Route),
        25 if is_ours() => Some(Notice::RouteGone),
        28 if is_permanent()? => Some(Notice::Neighbour),
        29 => Some(Notice::NeighbourGone),
        _ => None,
    }
}
