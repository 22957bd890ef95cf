//! The packet that is not sent, and its addresses and ports.

use std::net::IpAddr;

use anyhow::{Result, bail};
use etherparse::{
    IpNumber, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice,
};
use serde::Serialize;

use crate::protocol::Protocol;

/// The addresses and ports of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Tuple {
    pub(super) source: IpAddr,
    /// `None` for ICMP.
    pub(super) source_port: Option<u16>,
    pub(super) destination: IpAddr,
    pub(super) destination_port: Option<u16>,
}

/// A packet that opens a flow: a TCP SYN or a datagram.
pub(super) fn craft(
    mac: [u8; 6],
    (from, to): (IpAddr, IpAddr),
    (from_port, to_port): (u16, u16),
    protocol: Protocol,
    sequence: u32,
) -> Result<Vec<u8>> {
    const HOPS: u8 = 64;
    const WINDOW: u16 = 64_240;
    // The program ignores the frame's destination.
    let ethernet = PacketBuilder::ethernet2(mac, [0; 6]);
    let ip: PacketBuilderStep<etherparse::IpHeaders> = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), HOPS),
        _ => bail!("{from} and {to} are of different families"),
    };
    let mut frame = Vec::new();
    match protocol {
        Protocol::TCP => {
            ip.tcp(from_port, to_port, sequence, WINDOW).syn().write(&mut frame, &[])?;
        }
        Protocol::UDP => ip.udp(from_port, to_port).write(&mut frame, b"weir trace")?,
        Protocol(other) => {
            // The ports of SCTP; the program reads nothing after them.
            let mut segment = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
            segment.extend([0; 28]);
            ip.write(&mut frame, IpNumber(other), &segment)?;
        }
    }
    Ok(frame)
}

/// The addresses and ports of a frame; `None` if it is not IP.
pub(super) fn read(frame: &[u8]) -> Option<Tuple> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => return None,
    };
    let ports = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    let (source_port, destination_port) = ports.unzip();
    Some(Tuple { source, source_port, destination, destination_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crafted_packet_is_read_back() {
        for (from, to) in [("10.244.1.5", "10.96.0.10"), ("fd00::5", "fd96::a")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            for protocol in [Protocol::TCP, Protocol::UDP] {
                let frame = craft([2; 6], (from, to), (4000, 80), protocol, 7).unwrap();
                let tuple = read(&frame).unwrap();
                assert_eq!((tuple.source, tuple.source_port), (from, Some(4000)));
                assert_eq!((tuple.destination, tuple.destination_port), (to, Some(80)));
            }
            let sctp = craft([2; 6], (from, to), (4000, 80), Protocol::SCTP, 7).unwrap();
            assert_eq!(read(&sctp).unwrap().destination, to);
        }
    }
}
