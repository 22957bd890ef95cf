//! ICMP errors that a pod receives, read by a raw socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketType, ipproto, recvfrom, socket};
use weir_tests::lab::Stack;

const DEADLINE: Duration = Duration::from_secs(3);

/// Receives the ICMP messages of a pod.
pub(crate) struct IcmpListener {
    socket: OwnedFd,
    ipv4: bool,
}

/// An error with the addresses of the quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// The type of the message.
    pub(crate) kind: u8,
    /// The sender of the error.
    pub(crate) from: IpAddr,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

impl IcmpListener {
    pub(crate) fn start(stack: &impl Stack, ipv4: bool) -> Result<Self> {
        let socket = stack.run(|| {
            let (family, protocol) = if ipv4 {
                (AddressFamily::INET, ipproto::ICMP)
            } else {
                (AddressFamily::INET6, ipproto::ICMPV6)
            };
            socket(family, SocketType::RAW, Some(protocol)).context("create a raw socket")
        })?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE)).context("set a deadline")?;
        Ok(Self { socket, ipv4 })
    }

    /// Waits for an error about a packet to `destination`. Other messages, such as those of neighbour
    /// discovery, are skipped.
    pub(crate) fn about(&self, destination: SocketAddr) -> Result<IcmpError> {
        let mut others = Vec::new();
        let mut buffer = [0; 2048];
        while others.len() < 100 {
            let (length, _, from) = recvfrom(&self.socket, &mut buffer, RecvFlags::empty())
                .with_context(|| format!("no error about {destination}, only {others:?}"))?;
            let from = SocketAddr::try_from(from.context("no source address")?)?.ip();
            match self.read(buffer.get(..length).unwrap_or_default(), from) {
                Some(error) if error.destination == destination => return Ok(error),
                other => others.extend(other),
            }
        }
        bail!("no error about {destination}, only {others:?}")
    }

    fn read(&self, message: &[u8], from: IpAddr) -> Option<IcmpError> {
        // A raw IPv4 socket returns the IP header, too.
        let message = if self.ipv4 { message.get(header_length(message)?..)? } else { message };
        let kind = *message.first()?;
        let is_error = if self.ipv4 { matches!(kind, 3 | 11 | 12) } else { kind < 128 };
        let quoted = message.get(8..)?;
        if !is_error {
            return None;
        }
        let (length, source, destination): (usize, IpAddr, IpAddr) = if self.ipv4 {
            let address = |at: usize| {
                Some(Ipv4Addr::from(<[u8; 4]>::try_from(quoted.get(at..at + 4)?).ok()?).into())
            };
            (header_length(quoted)?, address(12)?, address(16)?)
        } else {
            let address = |at: usize| {
                Some(Ipv6Addr::from(<[u8; 16]>::try_from(quoted.get(at..at + 16)?).ok()?).into())
            };
            (40, address(8)?, address(24)?)
        };
        let port = |at: usize| {
            let bytes = quoted.get(length + at..length + at + 2)?;
            Some(u16::from_be_bytes(bytes.try_into().ok()?))
        };
        Some(IcmpError {
            kind,
            from,
            source: SocketAddr::new(source, port(0)?),
            destination: SocketAddr::new(destination, port(2)?),
        })
    }
}

fn header_length(packet: &[u8]) -> Option<usize> {
    packet.first().map(|first| usize::from(first & 15) * 4)
}
