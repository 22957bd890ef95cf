//! What Weir's things on a node are called, and what marks them as Weir's.
//!
//! What the agent and the plugin make is what the operator's tool shows and removes: each name is
//! defined here and nowhere else. Names that an option can change are not here; nor is any policy
//! or type.

#![no_std]

/// Marks Weir's routes (`/etc/iproute2/rt_protos`; free in the registries of iproute2 and FRR).
pub const ROUTE_PROTOCOL: u8 = 87;

/// Weir's nftables table, of the family `inet`.
pub const NFTABLES_TABLE: &str = "weir";

/// What the names of tunnel devices begin with; the VNI follows.
pub const TUNNEL_PREFIX: &str = "weir.";

/// What the name of the host's end of a pod's interface begins with; a hash follows.
pub const HOST_INTERFACE_PREFIX: &str = "weir";

/// The network in the CNI configuration, and so the directory of its address store.
pub const NETWORK: &str = "weir";

/// The plugin's program.
pub const PLUGIN: &str = "weir-cni";

/// The CNI configuration. Sorted before what other networks may have left.
pub const CONFLIST: &str = "10-weir.conflist";
