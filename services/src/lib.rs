//! Services: from the cluster's objects to the entries of the data path's maps.
//!
//! ```text
//! snapshot -> index -> compile -> allocator -> operations -> (the agent) -> the maps
//!             endpoints           slots, diff, batching
//! ```
//!
//! All of it is pure: no I/O, no clock (time comes in as a value), no thread. [`index`] joins
//! Services with their slices and knows which Services a change affects, [`endpoints`] decides
//! which endpoints may get flows, [`compile`] turns one Service into frontends and sets of
//! backends, and [`allocator`] gives these their ids and slots and returns the operations, in an
//! order in which no packet can see a half-written state ([`diff`]). [`batching`] merges the
//! operations of many Services into few system calls. The cost of a change depends on the Services
//! that changed and on nothing else.
//!
//! [`engine`] puts these together. [`tables`] are the contents of the maps as plain values, and
//! [`wire`] is their encoding. [`debounce`] and [`resync`] decide when the agent works, and
//! [`status`] describes the result.

pub mod allocator;
pub mod batching;
pub mod compile;
pub mod debounce;
pub mod diff;
pub mod endpoints;
pub mod engine;
pub mod index;
pub mod resync;
pub mod slots;
pub mod status;
pub mod tables;
pub mod wire;
