//! Agents in clusters of network namespaces: each module is one idea, each test a sentence.
//!
//! What a node has to have is told by the world and the lab's own reckoning (`lab::Entries`), and
//! read from its kernel; the agent is asked only whether it is ready. Waiting has a deadline, and
//! nothing depends on how fast anything is.

mod availability;
mod cleanup;
mod cli;
mod conflicts;
mod device;
mod direct_routing;
mod documented;
mod downtime;
mod entries;
mod families;
mod firewall;
mod headroom;
mod manifests;
mod masquerade;
mod offload;
mod path_mtu;
mod peers;
mod pod_cidr;
mod quiet;
mod reach;
mod readiness;
mod restart;
mod scene;
mod services;
mod topology;
mod uplink;
