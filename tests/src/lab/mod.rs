//! A laboratory of network namespaces: nodes, pods and clusters, and the tools to inspect them.
//!
//! A [`Node`] is a network namespace with a private mount namespace, a [`Pod`] is a network
//! namespace whose path exists only inside its node's mount namespace. Both are held by file
//! descriptors only, without a process or a path in the root namespace. So the kernel frees
//! everything when the test ends, even if it is killed. Only a temporary directory can outlive a
//! killed test; a later test removes it.
//!
//! ```no_run
//! use weir_tests::lab::{Cni, Config, Node, ping};
//!
//! # fn main() -> anyhow::Result<()> {
//! let node = Node::new()?;
//! let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
//! let (a, b) = (node.pod("a")?, node.pod("b")?);
//! let (_, b_added) = (cni.add(&a)?, cni.add(&b)?);
//! ping(&a, b_added.address()?)?;
//! # Ok(())
//! # }
//! ```

mod cgroup;
mod cluster;
mod cni;
mod config;
mod dir;
mod flow;
mod namespaces;
mod node;
mod observe;
mod packet_socket;
mod pod;
mod result;
mod server;
mod stack;
mod start;
mod store;
mod tool;
mod traffic;
mod vxlan;
mod wait;

pub use cluster::{
    Agent, AttachedPod, Builder, Cluster, Entries, Families, HttpResponse, ManifestDir, Member,
    Mode, NodeManifest, PeerRoute, ServiceManifest, Underlay, tunnel_next_hop,
};
pub use cni::{Call, Cni, Reply, binary};
pub use config::Config;
pub use flow::{Flow, Tally};
pub use namespaces::Namespaces;
pub use node::Node;
pub use observe::{
    Address, FdbEntry, Link, LinkInfo, Neighbour, Observe, PortInfo, Route, RouteMetrics,
};
pub use packet_socket::{PacketSocket, Tap};
pub use pod::Pod;
pub use result::{Added, CniError, Interface, Ip, ResultRoute, refused};
pub use server::{
    Connection, Server, ServerReply, ask_tcp, ask_tcp_within, ask_udp, ask_udp_within,
};
pub use stack::Stack;
pub use start::close;
pub use tool::{Finished, Tool};
pub use traffic::{observed_source, ping, tcp_echo, tcp_transfer, udp_echo};
pub use vxlan::{TUNNEL_PORT, tunnel_payload};
pub use wait::{eventually, poll, retry, until};
