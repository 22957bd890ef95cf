//! How pods of different nodes reach each other.
//!
//! Level-triggered: [`peers`] selects the nodes to reach, [`plan`] makes the desired state, [`observe`]
//! reads the kernel's state, [`diff`] computes the fewest operations from one to the other, and
//! [`apply`] executes them. `peers`, `plan` and `diff` are pure.
//!
//! Weir recognizes its own objects: the tunnel device by its name, with everything on it, and routes
//! by [`ROUTE_PROTOCOL`]. Nothing else is changed.

pub mod apply;
pub mod diff;
pub mod identity;
pub mod observe;
pub mod peers;
pub mod plan;

pub use weir_node::names::ROUTE_PROTOCOL;
