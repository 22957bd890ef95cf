//! Synchronous requests over route netlink.
//!
//! The plugin makes three of them per pod, in one datagram. A socket and a loop suffice.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// The largest datagram: the kernel's are smaller.
const DATAGRAM: usize = 64 << 10;

/// A request for a change.
pub(crate) struct Change {
    pub(crate) message: RouteNetlinkMessage,
    /// Flags in addition to those of every request.
    pub(crate) flags: u16,
}

/// Requests a change and waits for its result.
pub(crate) fn change(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    change_all(vec![Change { message, flags }])?.into_iter().collect()
}

/// Requests several changes and waits for all results. The kernel makes them in order, and goes on
/// after one that fails.
pub(crate) fn change_all(changes: Vec<Change>) -> io::Result<Vec<io::Result<()>>> {
    let mut requests = Vec::new();
    let count = changes.len();
    for (number, Change { message, flags }) in (1..).zip(changes) {
        requests.extend(request(message, NLM_F_ACK | flags, number));
    }
    let mut outcomes = Vec::new();
    exchange(&requests, |answer| {
        if let NetlinkPayload::Error(error) = answer {
            outcomes.push(if error.code.is_some() { Err(error.to_io()) } else { Ok(()) });
        }
        Ok(outcomes.len() == count)
    })?;
    Ok(outcomes)
}

/// Requests a list.
pub(crate) fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut answers = Vec::new();
    exchange(&request(message, NLM_F_DUMP, 1), |answer| {
        match answer {
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        Ok(false)
    })?;
    Ok(answers)
}

fn request(message: RouteNetlinkMessage, flags: u16, number: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = number;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len().next_multiple_of(4)];
    request.serialize(&mut bytes);
    bytes
}

/// Sends requests, and passes each reply to `is_complete` until it returns true.
fn exchange(
    requests: &[u8],
    mut is_complete: impl FnMut(NetlinkPayload<RouteNetlinkMessage>) -> io::Result<bool>,
) -> io::Result<()> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(requests, 0)?;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        datagram.clear();
        socket.recv(&mut datagram, 0)?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // Messages are aligned to four bytes, the last may lack its padding.
            let length = (message.header.length as usize).next_multiple_of(4).max(16);
            if is_complete(message.payload)? {
                return Ok(());
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
