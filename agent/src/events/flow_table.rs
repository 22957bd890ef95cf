//! The names of a table of flows.

use std::fmt;

use weir_datapath::common::map::{self, Map};

/// A table of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowTable {
    /// Whether its flows are of TCP. Otherwise they are of UDP and SCTP.
    pub is_tcp: bool,
    /// Whether they are of IPv4. Otherwise they are of IPv6.
    pub is_ipv4: bool,
}

impl FlowTable {
    /// The map.
    pub const fn map(self) -> Map {
        match (self.is_tcp, self.is_ipv4) {
            (true, true) => map::FLOWS_TCP_V4,
            (true, false) => map::FLOWS_TCP_V6,
            (false, true) => map::FLOWS_DGRAM_V4,
            (false, false) => map::FLOWS_DGRAM_V6,
        }
    }

    /// Its name in `--map-capacity`.
    pub(super) const fn option(self) -> &'static str {
        if self.is_tcp { "flows-tcp" } else { "flows-datagram" }
    }

    /// The command that lists its flows.
    pub(super) const fn listing(self) -> &'static str {
        if self.is_tcp { "weir flows --protocol tcp" } else { "weir flows --protocol udp" }
    }
}

impl fmt::Display for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.map().name.to_ascii_lowercase())
    }
}
