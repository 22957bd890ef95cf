//! Services at run time: what [`weir_services`] decides is written to the data path's maps.
//!
//! [`controller`] starts [`sync_loop`] when the maps are there, and tells it the addresses of the
//! node. The loop writes by [`apply`], and closes sockets of the node's processes that have lost
//! their backend by [`sockets`].

pub mod apply;
pub mod controller;
pub mod sockets;
pub mod sync_loop;
