//! What is traced: the sending pod and the destination.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::protocol::Protocol;

/// The destination of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, protocol) = match text.split_once('/') {
            Some((at, protocol)) => (at, protocol.parse()?),
            None => (text, Protocol::TCP),
        };
        let at: SocketAddr = at.parse().map_err(|_| {
            format!("{at:?} is not ADDRESS:PORT, such as 10.96.0.10:53 or [fd00::a]:53")
        })?;
        Ok(Self { address: at.ip(), port: at.port(), protocol })
    }
}

/// The pod that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) ifindex: u32,
    pub(super) mac: [u8; 6],
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_with_a_port_and_perhaps_a_protocol() {
        let read = |text: &str| text.parse::<Destination>();
        let dns = read("[fd96::a]:53/UDP").unwrap();
        assert_eq!((dns.port, dns.protocol), (53, Protocol::UDP));
        assert_eq!(read("10.96.0.1:443").unwrap().protocol, Protocol::TCP);
        for invalid in ["10.96.0.1", "fd96::a:53/x", "web:80", "10.96.0.1:80/icmp"] {
            assert!(read(invalid).is_err(), "{invalid}");
        }
    }
}
