//! Notifications of changes to nftables.

use std::{io, net::IpAddr};

use futures_util::{Stream, stream};
use rtnetlink::{
    packet_core::{NetlinkBuffer, NlasIterator},
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER},
};
use rustix::{io::Errno, net::sockopt::set_socket_recv_buffer_size_force};

use super::change::{Change, Entry, SetElement};
use crate::{Error, Netlink, error::Cause};

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`: the upper half of the type of each of its messages.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWGEN`: the end of a transaction. It names no table.
const NEW_GENERATION: u16 = 15;
/// `NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM`.
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
/// `NFTA_SET_ELEM_LIST_SET` and `NFTA_SET_ELEM_LIST_ELEMENTS`: the set's name, and its elements.
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY` and `NFTA_DATA_VALUE`, each in the one before.
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const VALUE: u16 = 1;
/// The attribute with the table's name: `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE` and
/// so on are the same number.
const TABLE: u16 = 1;
/// Length of `struct nfgenmsg`, before the attributes.
const FAMILY_HEADER: usize = 4;
/// Others may write tens of thousands of elements in one transaction.
const BUFFER: usize = 4 << 20;

/// A change for each batch of notifications, from now on. If some are about the table `name` of the
/// family `family` (`NFPROTO_*`) or an object in it: [`Change::Elements`] if all of these are about
/// elements of sets, otherwise [`Change::Table`]. If none is: [`Change::OtherTables`].
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
            Ok((batch, _)) => {
                if let Some(change) = table.change_in(&batch) {
                    return Some(change);
                }
            }
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
    /// The change that these messages report.
    fn change_in(&self, mut messages: &[u8]) -> Option<Change> {
        let mut elements = Vec::new();
        let mut others = None;
        while let Ok(message) = NetlinkBuffer::new_checked(messages) {
            let [subsystem, kind] = message.message_type().to_be_bytes().map(u16::from);
            let is_change = subsystem == SUBSYSTEM && kind != NEW_GENERATION;
            if is_change && !self.is_named_by(message.payload()) {
                others = Some(Change::OtherTables);
            } else if is_change {
                let changed = match kind {
                    NEW_ELEMENT => read_elements(message.payload(), Entry::Is),
                    DELETE_ELEMENT => read_elements(message.payload(), Entry::Gone),
                    _ => None,
                };
                match changed {
                    Some(changed) => elements.extend(changed),
                    None => return Some(Change::Table),
                }
            }
            let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
            let Some(rest) = messages.get(length.next_multiple_of(4)..) else { break };
            messages = rest;
        }
        if elements.is_empty() { others } else { Some(Change::Elements(elements)) }
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

/// The elements in a message about a set, or `None` if it cannot be read.
fn read_elements(payload: &[u8], wrap: fn(IpAddr) -> Entry<IpAddr>) -> Option<Vec<SetElement>> {
    let attributes = payload.get(FAMILY_HEADER..)?;
    let name = value(attributes, SET)?;
    let set = String::from_utf8(name.strip_suffix(b"\0").unwrap_or(&name).to_vec()).ok()?;
    let list = value(attributes, ELEMENTS)?;
    let mut elements = Vec::new();
    for element in NlasIterator::new(&list) {
        let element = element.ok().filter(|element| element.kind() == ELEMENT)?;
        let key = value(element.value(), KEY).and_then(|key| value(&key, VALUE));
        let ip = key.and_then(|key| match key.len() {
            4 => <[u8; 4]>::try_from(key).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(key).ok().map(IpAddr::from),
        });
        elements.push(SetElement { set: set.clone(), entry: ip.map_or(Entry::Other, wrap) });
    }
    Some(elements)
}

/// The value of the attribute of this kind.
fn value(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    attributes.find(|attribute| attribute.kind() == kind).map(|found| found.value().to_vec())
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
        let name = [table.as_bytes(), b"\0"].concat();
        with_header(kind, family, &[attribute(TABLE, &name), attribute(9, &[1; 4])].concat())
    }

    /// A message of the nftables subsystem with these attributes.
    fn with_header(kind: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
        let body = [&[family, 0, 0, 0], attributes].concat();
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
            assert_eq!(table().change_in(&batch), Some(Change::Table), "{kind}");
        }
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A message about elements of the set `peers`, each the bytes of its key.
    fn element_message(kind: u16, keys: &[&[u8]]) -> Vec<u8> {
        const NESTED: u16 = 0x8000;
        let element = |key: &&[u8]| {
            let key = attribute(KEY | NESTED, &attribute(VALUE, key));
            attribute(ELEMENT | NESTED, &key)
        };
        let elements: Vec<u8> = keys.iter().flat_map(element).collect();
        let attributes = [
            attribute(TABLE, b"weir\0"),
            attribute(SET, b"peers\0"),
            attribute(ELEMENTS | NESTED, &elements),
        ];
        with_header(kind, INET, &attributes.concat())
    }

    #[test]
    fn the_elements_of_a_set_are_read_if_nothing_else_has_changed() {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let added = element_message(NEW_ELEMENT, &[&[192, 0, 2, 1], &v6]);
        let batch =
            [message(0, INET, "other"), added, element_message(DELETE_ELEMENT, &[b"ether"])];
        let element = |entry| SetElement { set: "peers".to_owned(), entry };
        let expected = vec![
            element(Entry::Is("192.0.2.1".parse().unwrap())),
            element(Entry::Is("2001:db8::7".parse().unwrap())),
            element(Entry::Other),
        ];
        assert_eq!(table().change_in(&batch.concat()), Some(Change::Elements(expected)));
        let more = [&batch.concat()[..], &message(6, INET, "weir")].concat();
        assert_eq!(table().change_in(&more), Some(Change::Table));
    }

    #[test]
    fn other_tables_and_families_are_told_apart() {
        for other in [message(0, INET, "weird"), message(0, INET, "wei"), message(0, 2, "weir")] {
            let batch = [other, message(NEW_GENERATION, INET, "weir")].concat();
            assert_eq!(table().change_in(&batch), Some(Change::OtherTables));
        }
        assert_eq!(table().change_in(&message(NEW_GENERATION, INET, "weir")), None);
    }

    #[test]
    fn an_incomplete_message_names_no_table() {
        let complete = message(0, INET, "weir");
        for length in 0..complete.len() - 8 {
            let change = table().change_in(&complete[..length]);
            assert!(!matches!(change, Some(Change::Table | Change::Elements(_))), "{length}");
        }
    }
}
