//! The `weir-cni` plugin: gives a pod its network interface, and takes it away again.
//!
//! It implements the [CNI specification](https://www.cni.dev/docs/spec/) 1.1.0 and serves callers of
//! 0.3.0 to 1.1.0. Bridge, veth pairs and host-local address management are built in. It needs no
//! other plugin and no daemon, and starts no other program.
//!
//! How a call runs:
//!
//! 1. [`invocation`] reads the environment and [`config`] the configuration. Both check everything
//!    before anything is touched.
//! 2. One verb runs: `add`, `del`, `check`, `gc` or `status`. `node` is the host's side (the
//!    bridge) and `forwarding` its FDB entries, `pod` the container's side and `parameters` its kernel
//!    parameters, `store` the address store, `record` the claims and endpoint records that others may
//!    read.
//! 3. `output` writes the one JSON document that the caller gets; [`Error`] maps to the
//!    specification's codes in one place.
//!
//! `DEL` finds everything that `ADD` makes by the container ID and the interface name
//! alone ([`weir_node::Attachment`]). So `DEL` needs no state of its own, and it cleans up
//! after an `ADD` that was killed at any point.

mod add;
mod addresses;
mod attributes;
mod boot;
mod check;
pub mod config;
mod del;
mod error;
mod forwarding;
mod gc;
pub mod invocation;
mod lock;
pub mod mac;
mod mtu;
mod node;
mod output;
mod parameters;
mod plugin;
mod pod;
mod previous;
mod programs;
pub mod range;
mod record;
mod status;
mod store;
pub mod version;

pub use error::Error;
pub use plugin::{Response, run};
