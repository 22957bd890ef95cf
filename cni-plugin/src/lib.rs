//! The `weir-cni` plugin: gives a pod its network interface, and takes it away again.
//!
//! It speaks the [CNI specification](https://www.cni.dev/docs/spec/) 1.1.0 and answers callers of
//! 0.3.0 to 1.1.0. Bridge, veth pairs and host-local address management are inside; no other
//! plugin and no daemon is needed, and no process is started.
//!
//! How a call runs:
//!
//! 1. [`invocation`] reads the environment and [`config`] the configuration. Both check everything
//!    before anything is touched.
//! 2. One verb works: `add`, `del`, `check`, `gc` or `status`. `node` is the host's side (the
//!    bridge), `pod` the container's, `store` the addresses that are taken, `record` the claims
//!    and endpoint records that others may read.
//! 3. `output` writes the one JSON document that the caller gets; [`Error`] maps to the
//!    specification's codes in one place.
//!
//! Everything that `ADD` makes can be found again from the container ID and the interface name
//! alone ([`weir_node::Attachment`]). So `DEL` needs no memory: it cleans up after an `ADD` that was killed at
//! any instant.

mod add;
mod attributes;
mod boot;
mod check;
pub mod config;
mod del;
mod error;
mod gc;
pub mod invocation;
mod mtu;
mod node;
mod output;
mod plugin;
mod pod;
mod programs;
pub mod range;
mod record;
mod status;
mod store;
pub mod version;

pub use error::Error;
pub use plugin::{Answer, answer};
