//! Notifications of changes to nftables.

use std::io;

use futures_util::{Stream, stream};
use rtnetlink::{
    packet_core::{NetlinkBuffer, NlasIterator},
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER},
};
use rustix::{io::Errno, net::sockopt::set_socket_recv_buffer_size_force};

use super::change::Change;
use crate::{Error, Netlink, error::Cause};

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`: the upper half of the type of each of its messages.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWGEN`: the end of a transaction. It names no table.
const NEW_GENERATION: u16 = 15;
/// The attribute with the table's name: `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE` and
/// so on are the same number.
const TABLE: u16 = 1;
/// Length of `struct nfgenmsg`, before the attributes.
const FAMILY_HEADER: usize = 4;
/// Others may write tens of thousands of elements in one transaction.
const BUFFER: usize = 4 << 20;

/// A [`Change::Table`] for each batch of notifications about the table `name` of the family
/// `family` (`NFPROTO_*`) or an object in it, from now on. Changes to other tables are skipped.
///
/// Changes by the caller itself are reported too.
pub fn table_changes(
    netlink: &Netlink,
    family: u8,
    name: &str,
) -> Result<impl Stream<Item = Change> + Unpin + Send + use<>, Error> {
    let step = |cause: Cause| Error::new("subscribe to notifications of nftables", cause);
    let socket = netlink.netns().run(open)?.map_err(|error| step(error.into()))?;
    let table = Table { family, name: [name.as_bytes(), b"\0"].concat() };
    Ok(Box::pin(stream::unfold((socket, table), |(mut socket, table)| async {
        let change = next(&mut socket, &table).await?;
        Some((change, (socket, table)))
    })))
}

fn open() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    set_socket_recv_buffer_size_force(socket.socket_ref(), BUFFER)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 1 << (GROUP - 1)))?;
    Ok(socket)
}

/// Waits for notifications about the table; `None` if the socket has failed.
async fn next(socket: &mut TokioSocket, table: &Table) -> Option<Change> {
    loop {
        match socket.recv_from_full().await {
            Ok((batch, _)) if table.is_in(&batch) => return Some(Change::Table),
            Ok(_) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOBUFS) => return Some(Change::Lost),
                Some(Errno::INTR) => {}
                _ => {
                    tracing::warn!(%error, "notifications of nftables have ended");
                    return None;
                }
            },
        }
    }
}

/// The table whose changes are reported.
struct Table {
    family: u8,
    /// As in messages, with the terminating zero.
    name: Vec<u8>,
}

impl Table {
    /// Whether one of these messages is about it.
    fn is_in(&self, mut messages: &[u8]) -> bool {
        while let Ok(message) = NetlinkBuffer::new_checked(messages) {
            let [subsystem, kind] = message.message_type().to_be_bytes().map(u16::from);
            let is_change = subsystem == SUBSYSTEM && kind != NEW_GENERATION;
            if is_change && self.is_named_by(message.payload()) {
                return true;
            }
            let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
            let Some(rest) = messages.get(length.next_multiple_of(4)..) else { break };
            messages = rest;
        }
        false
    }

    fn is_named_by(&self, payload: &[u8]) -> bool {
        let Some((header, attributes)) = payload.split_at_checked(FAMILY_HEADER) else {
            return false;
        };
        header.first() == Some(&self.family)
            && NlasIterator::new(attributes)
                .map_while(Result::ok)
                .any(|attribute| attribute.kind() == TABLE && attribute.value() == self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INET: u8 = 1;

    fn table() -> Table {
        Table { family: INET, name: b"weir\0".to_vec() }
    }

    /// A message with two attributes, the first of which is the table's name.
    fn message(kind: u16, family: u8, table: &str) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        for (number, value) in [(TABLE, [table.as_bytes(), b"\0"].concat()), (9, vec![1; 4])] {
            body.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            body.extend(number.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn the_table_is_found_in_any_message_of_a_batch() {
        for kind in [0, 2, 3, 5, 6, 8, 9, 11, 12, 14] {
            let batch = [message(6, INET, "other-table"), message(kind, INET, "weir")].concat();
            assert!(table().is_in(&batch), "{kind}");
        }
    }

    #[test]
    fn other_tables_and_families_are_ignored() {
        let others = [
            message(0, INET, "weird"),
            message(0, INET, "wei"),
            message(0, 2, "weir"),
            message(NEW_GENERATION, INET, "weir"),
        ];
        assert!(!table().is_in(&others.concat()));
    }

    #[test]
    fn an_incomplete_message_is_ignored() {
        let complete = message(0, INET, "weir");
        for length in 0..complete.len() - 8 {
            assert!(!table().is_in(&complete[..length]), "{length}");
        }
    }
}
