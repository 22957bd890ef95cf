//! A cluster: nodes on an underlay, each with its own agent, which reads Kubernetes manifests.
//!
//! A cluster leaves the root namespace unchanged. The underlay is a namespace with a bridge for each
//! subnet and a router between them. Each node's `uplink` is a port of one of these bridges. The
//! agents are the real binary, started in their node's namespaces, with all directories below the
//! node's directory. They watch a directory of manifests, which a test edits ([`ManifestDir`]).
//!
//! ```no_run
//! use weir_tests::lab::{Cluster, ping};
//!
//! # fn main() -> anyhow::Result<()> {
//! Cluster::new(2).test(|cluster| {
//!     let (a, b) = (cluster.node(1)?.pod("a")?, cluster.node(2)?.pod("b")?);
//!     ping(&a, b.address()?)
//! })
//! # }
//! ```

mod agent;
mod attached_pod;
mod builder;
mod entries;
mod health;
mod manifest;
mod manifest_dir;
mod member;
mod running;
mod service;
mod settings;
mod underlay;
mod weir_command;

pub use agent::Agent;
pub use attached_pod::AttachedPod;
pub use builder::Builder;
pub use entries::{Entries, PeerRoute, tunnel_next_hop};
pub use health::HttpResponse;
pub use manifest::NodeManifest;
pub use manifest_dir::ManifestDir;
pub use member::Member;
pub use running::Cluster;
pub use service::ServiceManifest;
pub use settings::{Families, Mode};
pub use underlay::Underlay;
