//! The table's family and name.

use nftables::types::NfFamily;

/// The table's name.
pub(super) const TABLE: &str = weir_node::names::NFTABLES_TABLE;
/// Its family: IPv4 and IPv6 in one table.
pub(super) const FAMILY: NfFamily = NfFamily::INet;
