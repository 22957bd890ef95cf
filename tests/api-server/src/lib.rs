//! A Kubernetes control plane in a network namespace, and agents that follow it.
//!
//! etcd, kube-apiserver and kube-controller-manager run on a machine whose bridge is the nodes'
//! underlay. No kubelet runs: the tests create the Node objects, and the controller manager assigns
//! their subnets. The agents' RBAC comes from `manifests/`.

mod agent;
mod cluster;
mod control_plane;
mod daemon;
mod kubectl;

pub use agent::Agent;
pub use cluster::{Machine, TestCluster};
pub use control_plane::{ADDRESS, ControlPlane, connect_node, create_machine};
pub use daemon::Daemon;
pub use kubectl::Kubectl;
