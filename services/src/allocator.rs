//! The ids and slots that Services have in the maps, and the operations that change the maps.
//!
//! When a Service changes, each set of backends that is different gets a fresh range of slots, and
//! the frontends are switched to it one by one. The old range is in quarantine for [`GRACE`] before
//! another set may use it. A removed backend is marked as not serving, and is deleted after the
//! same time, when no packet can be about to look at it. Whatever has not changed keeps its ids and
//! slots, also when the agent restarts: [`Allocator::adopt`] begins with the contents of the maps.
//!
//! A Service for which there is no room keeps what it has. It is reported as a [`Problem`], and it
//! is tried again when room was made. Other Services are not affected.
//!
//! `state` has the fields, `reconcile` changes them, `allocate` computes the new allocation of one
//! Service, `claims` decides which of several Services gets a frontend, and `adoption` takes over
//! what an earlier allocator has left.
//!

mod adopted;
mod adoption;
mod allocate;
mod allocation;
mod capacity;
mod claims;
mod ids;
mod problem;
mod reconcile;
mod state;

pub use self::capacity::{Capacity, Use};
pub use self::problem::Problem;
pub use self::state::{Allocator, GRACE};

#[cfg(test)]
mod tests;
