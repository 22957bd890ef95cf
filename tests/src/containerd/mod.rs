//! A real container runtime on a node of the lab: Debian's containerd and runc, run by `ctr`.
//!
//! `ctr run --cni` has no options for the directories of CNI: configurations come from
//! `/etc/cni/net.d`, plugins from `/opt/cni/bin`, results are cached in `/var/lib/cni`. The runtime
//! therefore runs in a mount namespace where those are private, below that of its node.
//!
//! It also is the first process of its own PID namespace. containerd's shims outlive their parent by
//! design. Here the kernel ends them and the containers together with that first process, after a
//! drop, a panic or the end of the test.

mod cgroup;
mod container;
mod image;
mod runtime;

pub use container::{Container, Family};
pub use image::{Image, PAYLOAD_NAME};
pub use runtime::Containerd;
