//! Agents in clusters of network namespaces: each module is one idea, each test a sentence.
//!
//! What a node has to have is told by the world and the lab's own reckoning (`lab::Entries`), and
//! read from its kernel; the agent is asked only whether it is ready. Waiting has a deadline, and
//! nothing depends on how fast anything is.

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
mod offload;
mod path_mtu;
mod peers;
mod pod_cidr;
mod readiness;
mod restart;
mod services;
mod topology;
mod uplink;
