//! The programs in a real kernel: pods on the bridge of a node that is a network namespace.

mod family;
mod frames;
mod pair;
mod released;
mod scene;
mod talk;
mod traffic;

mod affinity;
mod attachment;
mod batch;
mod checksums;
mod cluster_ip;
mod cost;
mod crafted;
mod endurance;
mod errors;
mod firewall;
mod flows;
mod fragments;
mod hairpin;
mod kept;
mod lifetimes;
mod logs;
mod overfull;
mod refusal;
mod remote;
mod renewal;
mod replacement;
mod settled;
mod sockets;
mod source;
mod trial;
mod upgrade;
mod views;
