//! How pods of different nodes reach each other.
//!
//! Level-triggered: [`peers`] picks from the model whom to reach, [`plan`] says how the kernel shall
//! be, [`observe`] reads how it is, [`diff`] gives the fewest operations from one to the other, and
//! [`apply`] does them. `peers`, `plan` and `diff` are pure.
//!
//! What belongs to Weir is known by mark: the tunnel device by its name and everything on it, routes
//! by [`ROUTE_PROTOCOL`]. Nothing else is changed.

pub mod apply;
pub mod diff;
pub mod identity;
pub mod observe;
pub mod peers;
pub mod plan;

pub use weir_node::names::ROUTE_PROTOCOL;
