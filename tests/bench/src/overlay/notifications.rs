//! The kernel's netlink notifications of links, routes, neighbour entries and FDB entries, with
//! their times.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use weir_tests::lab::Stack;

/// Multicast groups of links, neighbours (FDB entries too) and IPv4 routes: RTMGRP_* in
/// linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x4 | 0x40;
const BUFFER: usize = 64 << 20;
/// The longest time without a notification.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The protocol number of the agent's routes.
const PROTOCOL: u8 = 87;
const PERMANENT: u16 = 0x80;

/// A change in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    LinkRemoved,
    Route,
    RouteRemoved,
    /// A permanent neighbour entry, or an FDB entry.
    Neighbour,
    NeighbourRemoved,
}

/// A socket that receives a node's notifications.
#[derive(Debug)]
pub(crate) struct NetlinkMonitor {
    socket: OwnedFd,
    pending: Vec<Notification>,
}

impl NetlinkMonitor {
    pub(crate) fn of(node: &impl Stack) -> Result<Self> {
        let socket = node.run(|| {
            // No protocol means protocol 0, which is NETLINK_ROUTE.
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            set_socket_recv_buffer_size_force(&socket, BUFFER)?;
            set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(socket)
        });
        let socket = socket.context("receive the kernel's notifications")?;
        Ok(Self { socket, pending: Vec::new() })
    }

    /// Waits for `count` notifications that are `wanted`, and gives the times of the first and the
    /// last.
    pub(crate) fn wait(
        &mut self,
        count: u32,
        wanted: impl Fn(Notification) -> bool,
    ) -> Result<(Instant, Instant)> {
        let mut first = None;
        let mut left = count;
        let mut now = Instant::now();
        while left > 0 {
            if self.pending.is_empty() {
                self.receive()
                    .with_context(|| format!("{left} of {count} notifications are missing"))?;
                now = Instant::now();
            }
            // Notifications after the last wanted one stay for the next call.
            let mut taken = 0;
            for notification in &self.pending {
                taken += 1;
                if wanted(*notification) {
                    first.get_or_insert(now);
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
            }
            self.pending.drain(..taken);
        }
        Ok((first.unwrap_or(now), now))
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0_u8; 64 << 10];
        let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((length, kind, body)) = message(rest) {
            self.pending.extend(read(kind, body));
            rest = rest.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            bail!("the kernel sent an incomplete message");
        }
        Ok(())
    }
}

/// The first message: its padded length, its type and its body.
fn message(bytes: &[u8]) -> Option<(usize, u16, &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((length.next_multiple_of(4).min(bytes.len()), kind, bytes.get(16..length)?))
}

fn read(kind: u16, body: &[u8]) -> Option<Notification> {
    let is_ours = || body.get(5) == Some(&PROTOCOL);
    let is_permanent = || {
        let state = body.get(8..10)?.try_into().ok()?;
        Some(u16::from_ne_bytes(state) & PERMANENT != 0)
    };
    match kind {
        17 => Some(Notification::LinkRemoved),
        24 if is_ours() => Some(Notification::Route),
        25 if is_ours() => Some(Notification::RouteRemoved),
        28 if is_permanent()? => Some(Notification::Neighbour),
        29 => Some(Notification::NeighbourRemoved),
        _ => None,
    }
}
