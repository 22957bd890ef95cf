//! Sending as an ordinary process does.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use weir_tests::lab::Stack;

/// Sends a datagram, from this address of `from` if there is one. What the kernel refuses to send does
/// not arrive either.
pub(crate) fn send(
    from: &impl Stack,
    source: Option<IpAddr>,
    to: SocketAddr,
    message: &[u8],
) -> Result<()> {
    from.run(|| send_here(source, to, message))
}

/// As [`send`], from the namespace of the calling thread.
pub(crate) fn send_here(source: Option<IpAddr>, to: SocketAddr, message: &[u8]) -> Result<()> {
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let source = source.map_or_else(|| any.parse(), Ok)?;
    let socket = UdpSocket::bind((source, 0)).with_context(|| format!("bind {source}"))?;
    let _refused = socket.send_to(message, to);
    Ok(())
}
