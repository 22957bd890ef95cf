//! Connected UDP sockets of all processes: listing them, and closing one.
//!
//! The kernel responds at once, so these calls need no async runtime: the calling thread waits.

use std::{io, net::SocketAddr, time::Duration};

use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
        NetlinkSerializable,
    },
    sys::{self, Socket, protocols::NETLINK_SOCK_DIAG},
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::{Error, error::Cause};

/// Much longer than the kernel takes.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// A socket that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    family: u8,
    id: SocketId,
}

impl Connected {
    /// The peer to which the socket is connected; an IPv4 address if an IPv6 socket uses IPv4.
    pub fn peer(&self) -> SocketAddr {
        let SocketId { destination_address, destination_port, .. } = &self.id;
        SocketAddr::new(destination_address.to_canonical(), *destination_port)
    }

    /// The socket's cookie, which identifies it as long as it exists.
    pub const fn cookie(&self) -> u64 {
        let [a, b, c, d, e, f, g, h] = self.id.cookie;
        let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        low as u64 | (high as u64) << 32
    }
}

/// The connected UDP sockets of the calling thread's network namespace.
pub fn list_connected() -> Result<Vec<Connected>, Error> {
    let mut found = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = SockDiagMessage::InetRequest(request(family, any));
        let responses = exchange(request, NLM_F_DUMP);
        let responses = responses.map_err(|cause| Error::new("list UDP sockets", cause))?;
        found.extend(responses.into_iter().filter_map(|response| match response {
            SockDiagMessage::InetResponse(found) => {
                let id = found.header.socket_id;
                (id.destination_port != 0).then_some(Connected { family, id })
            }
            _ => None,
        }));
    }
    Ok(found)
}

/// Closes a socket of the calling thread's network namespace: its process gets `ECONNABORTED`.
/// Returns whether the socket still existed. Needs CAP_NET_ADMIN and a kernel with
/// `CONFIG_INET_DIAG_DESTROY` ([`Error::is_unsupported`]).
pub fn close(socket: &Connected) -> Result<bool, Error> {
    let Connected { family, id } = socket;
    let request = SockDiagMessage::InetRequest(request(*family, id.clone()));
    let outcome = exchange(SockDiagDestroy::new(request), NLM_F_ACK);
    let step = || format!("close a UDP socket that is connected to {}", socket.peer());
    Error::absent_is_false(outcome.map(drop).map_err(|cause| Error::new(step(), cause)))
}

const fn request(family: u8, socket_id: SocketId) -> InetRequest {
    let (extensions, states) = (ExtensionFlags::empty(), StateFlags::ESTABLISHED);
    InetRequest { family, protocol: IPPROTO_UDP, extensions, states, socket_id }
}

/// Sends a request and reads all responses to it.
fn exchange<M: NetlinkSerializable>(message: M, flags: u16) -> Result<Vec<SockDiagMessage>, Cause>
where
    NetlinkPayload<M>: From<M>,
{
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIME_LIMIT))?;
    socket.connect(&sys::SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut responses = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Cause::TimedOut(TIME_LIMIT),
            _ => Cause::Kernel(error),
        })?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|_| Cause::Malformed("a complete message"))?;
            match message.payload {
                NetlinkPayload::InnerMessage(response) => responses.push(response),
                NetlinkPayload::Done(_) => return Ok(responses),
                NetlinkPayload::Error(error) => {
                    return match error.code {
                        Some(_) => Err(Cause::Kernel(error.to_io())),
                        None => Ok(responses),
                    };
                }
                _ => {}
            }
            let length = usize::try_from(message.header.length).unwrap_or(rest.len());
            rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};

    use super::*;

    fn connected(bind: &str, to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind(bind).unwrap();
        socket.connect(to).unwrap();
        socket
    }

    #[test]
    fn connected_sockets_are_listed_with_their_peers_and_others_are_not() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = server.local_addr().unwrap();
        let mapped =
            SocketAddr::new(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), server.port());
        let sockets = [connected("127.0.0.1:0", server), connected("[::]:0", mapped)];
        let found = list_connected().unwrap();
        let ours: Vec<&Connected> = found.iter().filter(|one| one.peer() == server).collect();
        assert_eq!(ours.len(), sockets.len());
        assert_ne!(ours[0].cookie(), ours[1].cookie());
    }
}
