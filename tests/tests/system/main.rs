//! The plugin against a real kernel: each module is one idea, each test a sentence.
//!
//! One binary for all of them, because linking is what takes the time.

mod addresses;
mod bridge;
mod broken_store;
mod check;
mod crash;
mod del;
mod errors;
mod fixture;
mod gc;
mod host_port;
mod input;
mod kernel_state;
mod lab;
mod mtu;
mod parallel;
mod pins;
mod pod_cidr;
mod reboot;
mod requests;
mod results;
mod rollback;
mod routes;
mod status;
mod store_sharing;
mod traffic;
mod verbs;
