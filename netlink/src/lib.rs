//! Verbs on the kernel's network configuration: links, addresses, routes, neighbours, forwarding
//! entries, sysctls and network namespaces.
//!
//! The plugin, the agent and the tools all say what they want in these verbs, so this crate is the
//! one place that knows netlink messages. It holds no policy: no Weir name, address or default
//! lives here.
//!
//! - [`Netlink`] is one socket in one network namespace. The verbs are `async` so that an agent can
//!   have thousands of requests under way; a plugin runs them on a current-thread runtime.
//! - `ensure` verbs are idempotent: they say how the kernel shall be and succeed if it already is.
//!   `create` and `add` tell the caller whether something was there before. `delete` succeeds for
//!   what is already gone.
//! - Every request has a time limit ([`Netlink::with_time_limit`]); nothing here waits for ever.
//! - [`Error`] says which step failed on what, and has predicates for the cases that callers tell
//!   apart.
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
