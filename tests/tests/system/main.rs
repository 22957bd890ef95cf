//! The plugin on a real kernel. All tests are one binary, because linking takes long.

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
