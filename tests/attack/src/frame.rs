//! Frames made by hand, as a process with `NET_RAW` sends them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use etherparse::{EtherType, IpHeaders, IpNumber, Ipv4Header, PacketBuilder, PacketBuilderStep};

/// Neighbour discovery believes no message that has been forwarded (RFC 4861).
const HOPS: u8 = 255;
const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// Everybody on a link.
pub(crate) const BROADCAST: Mac = [0xff; 6];
/// All machines of a link, by IPv6.
pub(crate) const ALL_NODES: (Mac, Ipv6Addr) =
    ([0x33, 0x33, 0, 0, 0, 1], Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// The MAC addresses of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Macs {
    pub(crate) from: Mac,
    pub(crate) to: Mac,
}

/// What an ICMP message says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The second four bytes.
    pub(crate) rest: [u8; 4],
    pub(crate) body: &'a [u8],
}

/// A MAC address from its text.
pub(crate) fn mac(text: &str) -> Result<Mac> {
    let octets: Option<Vec<u8>> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets.and_then(|octets| octets.try_into().ok()).with_context(|| format!("{text}: no MAC"))
}

/// The link-local address that Linux derives from a MAC address (RFC 4291, appendix A).
pub(crate) fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn ip(macs: Macs, from: IpAddr, to: IpAddr) -> Result<PacketBuilderStep<IpHeaders>> {
    let ethernet = PacketBuilder::ethernet2(macs.from, macs.to);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok(ethernet.ipv4(from.octets(), to.octets(), HOPS)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Ok(ethernet.ipv6(from.octets(), to.octets(), HOPS)),
        _ => bail!("{from} and {to} are of different families"),
    }
}

/// A datagram.
pub(crate) fn udp(macs: Macs, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let step = ip(macs, from.ip(), to.ip())?.udp(from.port(), to.port());
    step.write(&mut frame, payload).context("write a datagram")?;
    Ok(frame)
}

/// A segment without data. `flags` are letters: `S`YN, `A`CK, `F`IN, `R`ST.
pub(crate) fn tcp(
    macs: Macs,
    from: SocketAddr,
    to: SocketAddr,
    (sequence, flags): (u32, &str),
) -> Result<Vec<u8>> {
    let mut step = ip(macs, from.ip(), to.ip())?.tcp(from.port(), to.port(), sequence, 64_000);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'A' => step.ack(1),
            'F' => step.fin(),
            'R' => step.rst(),
            _ => bail!("{flag} is no flag"),
        };
    }
    let mut frame = Vec::new();
    step.write(&mut frame, &[]).context("write a segment")?;
    Ok(frame)
}

/// An ICMP message of the family of the addresses.
pub(crate) fn icmp(
    macs: Macs,
    from: IpAddr,
    to: IpAddr,
    Message { kind, code, rest, body }: Message<'_>,
) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let step = ip(macs, from, to)?;
    let written = if from.is_ipv4() {
        step.icmpv4_raw(kind, code, rest).write(&mut frame, body)
    } else {
        step.icmpv6_raw(kind, code, rest).write(&mut frame, body)
    };
    written.context("write an ICMP message")?;
    Ok(frame)
}

/// An ARP message: a request or a reply. `sender` and `target` are what it says of them.
pub(crate) fn arp(
    macs: Macs,
    is_reply: bool,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = [macs.to, macs.from].concat();
    frame.extend(EtherType::ARP.0.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1 + u8::from(is_reply)]);
    for (mac, address) in [sender, target] {
        frame.extend(mac);
        frame.extend(address.octets());
    }
    frame
}

/// The frame with a tag that has a priority and no VLAN: to its receiver it is as without one.
pub(crate) fn priority_tagged(frame: &[u8]) -> Result<Vec<u8>> {
    let (macs, rest) = frame.split_at_checked(12).context("no frame")?;
    let tag = [EtherType::VLAN_TAGGED_FRAME.0.to_be_bytes(), [0xe0, 0]].concat();
    Ok([macs, &tag, rest].concat())
}

/// An IPv6 packet with `count` headers with options before its message: to its receiver it is as
/// without them.
pub(crate) fn behind_options(frame: &[u8], count: u8) -> Result<Vec<u8>> {
    // The last four bytes are an option that fills.
    let header = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    (0..count).try_fold(frame.to_vec(), |frame, _| {
        with_extension(&frame, IpNumber::IPV6_DESTINATION_OPTIONS, header)
    })
}

/// The packet as a fragment of another one, so that it seems to begin in its middle.
pub(crate) fn as_later_fragment(frame: &[u8]) -> Result<Vec<u8>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET).context("no frame")?;
    if ethernet.ends_with(&EtherType::IPV6.0.to_be_bytes()) {
        return with_extension(frame, IpNumber::IPV6_FRAGMENTATION_HEADER, |next| {
            [next, 0, 0, 80, 0, 0, 0, 9]
        });
    }
    let (mut header, payload) = Ipv4Header::from_slice(packet).context("no IPv4 packet")?;
    header.fragment_offset = 10.try_into().context("an offset")?;
    header.dont_fragment = false;
    header.header_checksum = header.calc_header_checksum();
    Ok([ethernet, &header.to_bytes(), payload].concat())
}

fn with_extension(
    frame: &[u8],
    number: IpNumber,
    extension: impl Fn(u8) -> [u8; 8],
) -> Result<Vec<u8>> {
    ensure!(frame.len() > ETHERNET + IPV6, "no IPv6 packet");
    let (headers, payload) = frame.split_at(ETHERNET + IPV6);
    let mut headers = headers.to_vec();
    let next = std::mem::replace(&mut headers[ETHERNET + 6], number.0);
    let length = u16::try_from(payload.len() + 8)?.to_be_bytes();
    headers[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length);
    Ok([&headers[..], &extension(next), payload].concat())
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket};

    use super::*;

    const MACS: Macs = Macs { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };

    fn datagram(from: &str, to: &str) -> Vec<u8> {
        udp(MACS, from.parse().unwrap(), to.parse().unwrap(), b"data").unwrap()
    }

    fn ports(frame: &[u8]) -> Option<(u16, u16)> {
        match SlicedPacket::from_ethernet(frame).unwrap().transport? {
            etherparse::TransportSlice::Udp(udp) => {
                Some((udp.source_port(), udp.destination_port()))
            }
            _ => None,
        }
    }

    #[test]
    fn tags_and_options_leave_the_packet_as_it_is() {
        let frame = datagram("[fd44::1]:1", "[fd44::2]:2");
        for frame in [
            frame.clone(),
            priority_tagged(&frame).unwrap(),
            behind_options(&frame, 3).unwrap(),
            priority_tagged(&datagram("10.1.0.1:1", "10.1.0.2:2")).unwrap(),
        ] {
            assert_eq!(ports(&frame), Some((1, 2)));
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        for frame in [datagram("10.1.0.1:1", "10.1.0.2:2"), datagram("[fd44::1]:1", "[fd44::2]:2")]
        {
            let fragment = as_later_fragment(&frame).unwrap();
            assert_eq!(ports(&fragment), None);
            let packet = SlicedPacket::from_ethernet(&fragment).unwrap();
            assert!(packet.is_ip_payload_fragmented());
            if let Some(NetSlice::Ipv4(ip)) = packet.net {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
            }
        }
    }

    #[test]
    fn link_local_addresses_follow_from_mac_addresses() {
        let mac = mac("0a:58:0a:f4:01:02").unwrap();
        assert_eq!(link_local(mac).to_string(), "fe80::858:aff:fef4:102");
        assert!(super::mac("0a:58").is_err());
    }
}
