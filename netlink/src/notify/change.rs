//! What a notification reports.

use std::net::IpAddr;

use crate::{MacAddr, fdb::TunnelEntry, route::Route};

/// A change: which object to look at, and the new state of an entry. A later change may already have
/// replaced that state, and is then reported as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link was created, changed or deleted.
    Link {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// An address of a link was added or removed.
    Address {
        /// Index of the link.
        link: u32,
    },
    /// A route was added, changed or removed.
    Route {
        /// Its routing protocol number.
        protocol: u8,
        /// The route.
        entry: Entry<Route>,
    },
    /// A neighbour entry was added, changed or removed.
    Neighbour {
        /// Index of the link.
        link: u32,
        /// The neighbour's address.
        ip: Option<IpAddr>,
        /// Its MAC address, if the entry is permanent; `None` also if it was removed.
        mac: Option<MacAddr>,
    },
    /// An FDB entry of a tunnel device was added, changed or removed.
    Forwarding {
        /// Index of the link.
        link: u32,
        /// The entry, if it is one of a tunnel device.
        entry: Entry<TunnelEntry>,
    },
    /// An entry of a bridge's FDB was added, changed or removed, also by learning.
    BridgeEntry {
        /// Index of the bridge.
        bridge: u32,
        /// The entry's MAC address.
        mac: MacAddr,
        /// Whether frames for it are delivered to the host now. False also if the entry was removed.
        is_local: bool,
    },
    /// A traffic filter of a link was added, changed or removed.
    Filter {
        /// Index of the link.
        link: u32,
        /// The filter.
        entry: Entry<Filter>,
    },
    /// All traffic filters of a link were removed, with their queueing discipline.
    Filters {
        /// Index of the link.
        link: u32,
    },
    /// The nftables table that the caller named, or an object in it, was added, changed or removed.
    Table,
    /// Elements of sets in that table were added or removed, and nothing else of it.
    Elements(Vec<SetElement>),
    /// Another nftables table, or an object in it, was added, changed or removed.
    OtherTables,
    /// Notifications were lost because they arrived faster than they were read: anything may
    /// have changed.
    Lost,
}

/// A traffic filter of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Its priority.
    pub priority: u16,
    /// ID of its eBPF program, if it has one and the kernel reports it.
    pub program: Option<u32>,
}

/// An element of an nftables set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetElement {
    /// The set's name.
    pub set: String,
    /// The element, if it is an address.
    pub entry: Entry<IpAddr>,
}

/// The new state of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    /// It was added, or changed to this.
    Is(T),
    /// It was removed.
    Gone(T),
    /// An entry of a kind that this crate does not make.
    Other,
}

impl<T> Entry<T> {
    pub(super) fn new(entry: Option<T>, is_gone: bool) -> Self {
        match entry {
            None => Self::Other,
            Some(entry) if is_gone => Self::Gone(entry),
            Some(entry) => Self::Is(entry),
        }
    }
}
