//! Services: from the cluster's objects to what lies in the data path's maps.
//!
//! ```text
//! world -> index -> compile -> ledger -> ops -> the maps
//!          endpoints            slots, diff
//! ```
//!
//! All but [`apply`], [`sockets`], [`reconcile`] and [`follow`] is pure; time comes in as a value.
//! [`index`] joins Services with their slices and knows which Services a change concerns,
//! [`endpoints`] says which endpoints may serve, [`compile`] turns one Service into frontends and
//! sets of backends, and [`ledger`] gives these their ids and slots and tells the operations, in an
//! order that no packet can see the middle of ([`diff`]). What it costs to take in a change depends
//! on the Services that changed and on nothing else.
//!
//! [`reconcile`] is the loop that drives this and says how it is doing ([`status`]), and [`follow`]
//! what starts it. [`sockets`] closes those of the node's processes whose backend is gone.

pub mod apply;
pub mod comparison;
pub mod compile;
pub mod debounce;
pub mod diff;
pub mod endpoints;
pub mod engine;
pub mod follow;
pub mod index;
pub mod ledger;
pub mod maps;
pub mod phases;
pub mod reconcile;
pub mod slots;
pub mod sockets;
pub mod status;
pub mod tables;
