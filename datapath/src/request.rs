//! Requests over route netlink, answered before the call returns.
//!
//! The plugin makes three of them for a pod, in one datagram: a socket and a loop are all that takes.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// More than the kernel puts into a datagram of a list.
const DATAGRAM: usize = 64 << 10;

/// A change that is asked for.
pub(crate) struct Change {
    pub(crate) message: RouteNetlinkMessage,
    /// Beside those that every request has.
    pub(crate) flags: u16,
}

/// Asks for a change and waits until it has happened.
pub(crate) fn change(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    change_all(vec![Change { message, flags }])?.into_iter().collect()
}

/// Asks for changes, which the kernel makes one after the other whether the ones before failed or not,
/// and waits until the last has happened; gives how each ended.
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

/// Asks for a list.
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

/// Sends requests, and hands over what comes until `is_complete` says that nothing more will.
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
