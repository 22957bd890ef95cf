//! System tests of Weir: what a node's kernel looks like after the real binaries ran.
//!
//! Nothing here links the product. The binaries are started as their callers start them, and what
//! they did is read back with iproute2, so that a test and the code it judges cannot share a
//! mistake.

pub mod containerd;
pub mod lab;
