//! A Kubernetes control plane in a network namespace, and agents that follow it.
//!
//! etcd, kube-apiserver and kube-controller-manager run in the namespace `control`, which is also
//! the nodes' underlay. No kubelet runs: the tests make the Node objects, the controller manager
//! gives them their subnets. The agents' RBAC comes from `manifests/`.

mod agent;
mod control_plane;
mod daemon;
mod kubectl;
mod scene;

pub use agent::Agent;
pub use control_plane::{ADDRESS, ControlPlane, machine, plug};
pub use daemon::Daemon;
pub use kubectl::Kubectl;
pub use scene::{Machine, Scene};
