//! Loading, pinning and attaching Weir's eBPF programs, and reading and writing their maps.
//!
//! Programs and maps are pinned in a folder of a BPF file system ([`Pins`]), where they outlive the
//! process that has loaded them. The agent [loads](load()) and replaces programs, also those of an
//! earlier release ([`Upgrade`]). The CNI plugin and the `weir` command only open what is pinned
//! ([`Program::open`], [`maps`]). This library starts no process or thread, and needs no async
//! runtime. Functions for network devices ([`filter`]) work in the network namespace of the calling
//! thread.

mod batch;
mod cgroup;
mod cookie;
mod error;
pub mod filter;
mod hook;
mod inventory;
mod kept;
mod listing;
mod load;
mod logs;
pub mod maps;
mod object;
mod pin_file;
mod pinned;
mod pins;
mod program;
mod request;
pub mod sweep;
mod syscall;
mod trial;
mod untyped;
pub mod upgrade;

pub use cgroup::{SOCKET_PROGRAMS, attach_sockets, detach_sockets};
pub use cookie::netns_cookie;
pub use error::Error;
pub use filter::{Attached, attach, attach_all, detach, list};
pub use hook::Hook;
pub use inventory::{AtSockets, list_pinned, list_sockets};
pub use kept::KeptPins;
pub use load::{Capacities, Loaded, MapRoom, load, load_over, load_with_logs};
pub use logs::{LogLevel, Logs};
pub use object::TC_PROGRAMS;
pub use pins::{Pins, mount_bpffs};
pub use program::Program;
pub use trial::{Action, Trial};
pub use upgrade::Upgrade;
pub use weir_ebpf_common as common;
