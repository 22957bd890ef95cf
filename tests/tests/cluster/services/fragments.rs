//! Fragmented datagrams.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use weir_tests::lab::Stack;

use super::testbed::{Case, in_each_case};
use super::{PORT, any, reaches_by_tcp, with};

const DEADLINE: Duration = Duration::from_secs(3);

/// A socket of the client and one of the backend, and the frontend between them.
fn sockets(case: &Case<'_>) -> Result<(UdpSocket, UdpSocket, SocketAddr)> {
    let backend = &case.backends[0];
    let service = case.service(4).without_port("udp").port("udp", "UDP", PORT, case.spare_port());
    let service = with(service, &[backend]);
    case.manifests()?.put_service(&service)?;
    let target = service.frontends()[0];
    reaches_by_tcp(case.client, target, &backend.name)?;
    let near = case.client.run(|| UdpSocket::bind(any(target)).context("bind"))?;
    let listen = SocketAddr::new(case.address_of(&backend.pod)?, case.spare_port());
    let far = backend.pod.run(|| UdpSocket::bind(listen).context("bind"))?;
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(DEADLINE))?;
    }
    Ok((near, far, target))
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251).to_le_bytes()[0]).collect()
}

#[test]
fn fragmented_datagrams_pass_in_both_directions() -> Result<()> {
    in_each_case(|case| {
        let (near, far, target) = sockets(case)?;
        for size in [8_000, 60_000] {
            let sent = pattern(size);
            let mut buffer = vec![0; size + 1];
            near.send_to(&sent, target)?;
            let (length, peer) =
                far.recv_from(&mut buffer).context("the datagram does not arrive")?;
            ensure!(buffer.get(..length) == Some(&*sent), "{size} bytes arrive changed");
            ensure!(peer.ip() == case.address_of(case.client)?, "the datagram comes from {peer}");
            far.send_to(&sent, peer)?;
            let (length, from) = near.recv_from(&mut buffer).context("no reply arrives")?;
            ensure!(buffer.get(..length) == Some(&*sent), "{size} bytes come back changed");
            ensure!(from == target, "the reply comes from {from}");
        }
        Ok(())
    })
}

#[test]
fn a_reply_with_reordered_fragments_reaches_the_client() -> Result<()> {
    in_each_case(|case| {
        let (near, far, target) = sockets(case)?;
        near.send_to(b"?", target)?;
        let (_, peer) = far.recv_from(&mut [0; 8]).context("the request does not arrive")?;
        let reply = pattern(2_000);
        let [first, second] = fragments(far.local_addr()?, peer, &reply)?;
        case.backends[0].pod.run(|| {
            let family = if case.ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
            let raw = socket(family, SocketType::RAW, Some(ipproto::RAW)).context("raw socket")?;
            for fragment in [&second, &first] {
                let to = SocketAddr::new(peer.ip(), 0);
                sendto(&raw, fragment, SendFlags::empty(), &to).context("send a fragment")?;
            }
            Ok(())
        })?;
        let mut buffer = [0; 3_000];
        let (length, from) = near.recv_from(&mut buffer).context("the reply does not arrive")?;
        ensure!(buffer.get(..length) == Some(&*reply), "{length} bytes arrive");
        ensure!(from == target, "the reply comes from {from}");
        Ok(())
    })
}

/// A datagram as two fragments.
fn fragments(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<[Vec<u8>; 2]> {
    /// The length of the first fragment: a multiple of eight.
    const FIRST: usize = 1_200;
    let length = u16::try_from(8 + payload.len())?.to_be_bytes();
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut datagram = [&*ports, &length, &[0; 2], payload].concat();
    let sum = checksum(&[&*octets(from.ip()), &*octets(to.ip()), &[0, 17], &length, &datagram]);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let (first, second) = datagram.split_at(FIRST);
    Ok([
        packet(from.ip(), to.ip(), 0, true, first)?,
        packet(from.ip(), to.ip(), u16::try_from(FIRST)?, false, second)?,
    ])
}

/// A fragment that begins at `offset`, in bytes, of its datagram.
fn packet(from: IpAddr, to: IpAddr, offset: u16, more: bool, part: &[u8]) -> Result<Vec<u8>> {
    let ends = [octets(from), octets(to)].concat();
    if from.is_ipv4() {
        let total = u16::try_from(20 + part.len())?.to_be_bytes();
        let fragment = ((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes();
        // The kernel fills in the checksum.
        return Ok(
            [&[0x45, 0], &total[..], &[7, 7], &fragment, &[64, 17, 0, 0], &ends, part].concat()
        );
    }
    let length = u16::try_from(8 + part.len())?.to_be_bytes();
    let fragment = (offset | u16::from(more)).to_be_bytes();
    let header = [&[0x60, 0, 0, 0], &length[..], &[44, 64], &ends].concat();
    Ok([&header[..], &[17, 0], &fragment, &[0, 0, 7, 7], part].concat())
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The internet checksum (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}
