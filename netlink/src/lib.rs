//! Verbs on the kernel's network configuration: links, addresses, routes, neighbours, forwarding
//! entries, sysctls and network namespaces.
//!
//! The plugin, the agent and the tools use these verbs, so only this crate knows netlink messages.
//! It holds no policy, and no name, address or default of Weir.
//!
//! - [`Netlink`] is one socket in one network namespace. The verbs are `async` so that an agent can
//!   have thousands of requests under way; a plugin runs them on a current-thread runtime.
//! - `ensure` verbs are idempotent: they describe the desired state and succeed if the kernel already
//!   has it. `create` and `add` report whether the object already existed. `delete` succeeds if
//!   the object does not exist.
//! - Every request has a time limit ([`Netlink::with_time_limit`]); no verb waits without one.
//! - [`Error`] names the step that failed and its subject, and has predicates for the cases that
//!   callers distinguish.
//!
//! Kernel floor: 5.10 (strict dump filters are 4.20, `IFLA_IFALIAS` and friends are older).

pub mod address;
pub mod bridge;
mod connection;
mod error;
pub mod fdb;
pub mod link;
mod mac;
pub mod neigh;
mod netns;
pub mod notify;
pub mod offload;
pub mod removal;
pub mod route;
pub mod sysctl;
pub mod udp;
pub mod veth;
pub mod vxlan;

pub use connection::Netlink;
pub use error::Error;
pub use link::{Link, LinkKind};
pub use mac::{MacAddr, ParseMacError};
pub use netns::{Netns, NetnsGuard};
