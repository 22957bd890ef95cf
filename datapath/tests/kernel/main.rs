//! The programs in a real kernel: pods on the bridge of a node that is a network namespace.

mod family;
mod scene;
mod traffic;

mod cluster_ip;
