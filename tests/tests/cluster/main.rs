//! Agents in clusters of network namespaces.
//!
//! The expected state of a node follows from the manifests by the lab's own code (`lab::Entries`), and
//! is compared with its kernel; the agent is asked only whether it is ready. Waiting has a deadline,
//! and no test depends on timing.

mod bridge_entries;
mod cleanup;
mod cli;
mod conflicts;
mod connectivity;
mod device;
mod direct_routing;
mod docs;
mod downtime;
mod entries;
mod families;
mod firewall;
mod fixture;
mod headroom;
mod idle;
mod manifests;
mod masquerade;
mod node_condition;
mod node_joined;
mod offload;
mod path_mtu;
mod peers;
mod pod_cidr;
mod readiness;
mod restart;
mod routing;
mod services;
mod topology;
mod tunnel_port;
mod uplink;
