//! Names and marks of Weir's things on a node. Names that an option can change are not here.

/// Marks Weir's routes (`/etc/iproute2/rt_protos`; free in the registries of iproute2 and FRR).
pub const ROUTE_PROTOCOL: u8 = 87;

/// Weir's nftables table, in the family `inet`.
pub const NFTABLES_TABLE: &str = "weir";

/// Prefix of the names of tunnel devices; the VNI follows.
pub const TUNNEL_PREFIX: &str = "weir.";

/// Prefix of the names of host interfaces of pods; a hash follows.
pub const HOST_INTERFACE_PREFIX: &str = "weir";

/// The network in the CNI configuration, and so the directory of its address store.
pub const NETWORK: &str = "weir";

/// The plugin's program.
pub const PLUGIN: &str = "weir-cni";

/// The CNI configuration. It sorts before configurations that other networks may have left.
pub const CONFLIST: &str = "10-weir.conflist";
