//! Services at run time: writes what [`weir_services`] decides to the data path's maps.
//!
//! [`controller`] starts [`sync_loop`] when the maps exist, and passes the addresses of the node to
//! it. The loop writes the maps by [`apply`]. It closes sockets of the node's processes whose
//! backend was removed by [`sockets`]. [`sweeper`] removes flows whose time is over; [`flow_tables`] says
//! what the operator has to know of the tables.

pub mod apply;
pub mod controller;
mod flow_tables;
pub mod sockets;
mod sweeper;
pub mod sync_loop;
