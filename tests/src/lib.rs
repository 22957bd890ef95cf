//! System tests of Weir: the state of a node's kernel after the real binaries ran.
//!
//! Nothing here links the product. The binaries are started as their callers start them, and the
//! result is read with iproute2, so that a test and the code under test cannot share a mistake.

pub mod containerd;
pub mod lab;
