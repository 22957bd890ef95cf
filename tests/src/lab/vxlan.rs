//! Packets as a tunnel carries them, for machines that send them without being a node.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use etherparse::PacketBuilder;

/// The UDP port of the lab's tunnels.
pub const TUNNEL_PORT: u16 = 8472;
/// The VNI of the lab's tunnels.
const VNI: u32 = 1;
/// The flag of a valid VNI (RFC 7348, section 5).
const HAS_VNI: u8 = 0x08;
const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x66];
const HOPS: u8 = 64;

/// The payload of a UDP packet to the tunnel's port of a node: a datagram between two pods. `mac` is the
/// MAC address of the node's tunnel device.
///
/// # Errors
/// When the two addresses are not of one family, or `mac` is not a MAC address.
pub fn tunnel_payload(
    mac: &str,
    from: SocketAddr,
    to: SocketAddr,
    message: &[u8],
) -> Result<Vec<u8>> {
    let octets: Option<Vec<u8>> =
        mac.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    let mac: [u8; 6] =
        octets.and_then(|octets| octets.try_into().ok()).context("not a MAC address")?;
    let [_, vni @ ..] = VNI.to_be_bytes();
    let mut payload = vec![HAS_VNI, 0, 0, 0];
    payload.extend(vni);
    payload.push(0);
    let ethernet = PacketBuilder::ethernet2(SOURCE_MAC, mac);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), HOPS),
        _ => bail!("{from} and {to} are of different families"),
    };
    ip.udp(from.port(), to.port()).write(&mut payload, message).context("write the packet")?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_begins_with_the_vni_and_the_mac_address_of_the_tunnel() {
        let mac = "0a:58:00:00:00:01";
        let (from, to) = ("10.244.2.2:1".parse().unwrap(), "10.244.1.2:2".parse().unwrap());
        let payload = tunnel_payload(mac, from, to, b"hello").unwrap();
        assert_eq!(payload[..8], [8, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(payload[8..14], [0x0a, 0x58, 0, 0, 0, 1]);
        assert_eq!(payload.len(), 8 + 14 + 20 + 8 + 5);
        assert!(tunnel_payload("0a:58", from, to, b"").is_err());
        assert!(tunnel_payload(mac, from, "[fd44::1]:2".parse().unwrap(), b"").is_err());
    }
}
