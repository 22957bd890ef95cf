//! Weir's eBPF programs from the outside: loading, pinning and attaching them, and the maps by which
//! one talks to them.
//!
//! Everything lives in a folder of a BPF file system ([`Pins`]), so that it outlives whoever made
//! it, and others find it. The agent [loads](load()) and replaces programs; the CNI plugin and the
//! operator's tool only open what is pinned ([`Program::open`], [`maps`]). Nothing here keeps a
//! process or a thread, or needs a runtime. What talks to the kernel about network devices
//! ([`filter`]) does so in the network namespace of the calling thread.

mod batch;
mod cgroup;
mod cookie;
mod error;
pub mod filter;
mod inventory;
mod listing;
mod load;
mod logs;
pub mod maps;
mod object;
mod pinned;
mod pins;
mod program;
mod request;
mod trial;

pub use cgroup::{SOCKET_PROGRAMS, attach_sockets, detach_sockets};
pub use cookie::netns_cookie;
pub use error::Error;
pub use filter::{Attached, Hook, attach, attach_all, detach, list};
pub use inventory::{AtSockets, list_pinned, list_sockets};
pub use load::{Capacities, Loaded, MapRoom, load, load_with_logs};
pub use logs::{LogLevel, Logs};
pub use object::TC_PROGRAMS;
pub use pins::{Pins, mount_bpffs};
pub use program::Program;
pub use trial::{Action, Trial};
pub use weir_ebpf_common as common;
