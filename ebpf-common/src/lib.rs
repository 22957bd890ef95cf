//! What Weir's eBPF programs and its daemons have to agree on: the names, keys and values of every
//! map, the reasons that packets are counted by, and the logic that needs no kernel helper and can
//! therefore be tested on the host.
//!
//! Everything that lies in a map is `#[repr(C)]` and without padding, which is asserted when this
//! crate is compiled: padding would be uninitialised bytes in a hash map's key. Addresses and ports
//! are kept as they lie in a packet ([`V4`], [`V6`], [`Port`]), so that a program copies them and
//! never swaps bytes.
//!
//! Both address families have maps of their own, of the same generic types. A type whose layout
//! changes needs a new layout version of its map ([`map`]).

#![no_std]

mod address;
mod affinity;

mod checksum;
mod config;

mod endpoint;
mod flow;
mod fragment;
pub mod header;
pub mod map;
#[cfg(feature = "user")]
mod pod;
mod reason;
pub mod reject;
mod route;
mod service;

mod socket;
mod unpadded;

pub use address::{Address, Mac, Port, V4, V6};
pub use affinity::{Affinity, AffinityKey};
pub use checksum::{add, corrected, finish};
pub use config::{Config, halves};
pub use endpoint::Endpoint;
pub use flow::{Direction, Flow, FlowKey, STREAM_AFTER, ephemeral_port, timeout};
pub use fragment::{Fragment, FragmentKey, Hook};
pub use reason::Reason;
pub use route::{Route, RouteKind};
pub use service::{Algorithm, Backend, Scope, Service, ServiceKey, choose_slot};
pub use socket::{Socket, SocketKey};

/// IP protocol numbers: of what a Service can have, and of what pods are kept from.
pub mod protocol {
    /// Internet Group Management Protocol.
    pub const IGMP: u8 = 2;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;
}
