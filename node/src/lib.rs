//! What Weir has on a node: names, marks, and the formats of its files.
//!
//! The plugin and the agent make these things, the operator's tool shows and removes them. Each
//! name and each file format that more than one of them uses is defined here and nowhere else.
//!
//! - [`names`]: names and marks of links, routes, tables and files.
//! - [`Attachment`]: the key of a pod's interface, and the host interface name that follows from it.
//! - [`endpoint`]: the record of a pod's interface. The plugin writes it.
//! - [`forwarding`]: the FDB entries that the pods' bridge must have.
//! - [`interface_name`]: what the kernel takes as the name of a link.
//! - [`Namespace`]: namespaces of Kubernetes, and which pods may route.
//! - [`PodNetwork`]: `subnet.env`. The agent writes it.
//!
//! Formats on disk are stable: a plugin of one version meets files of another after an upgrade.
//! The crate reads files and writes none. What it decides is what the agent and the tool must see alike.

mod attachment;
pub mod endpoint;
pub mod forwarding;
pub mod interface_name;
pub mod names;
mod namespace;
pub mod subnet_env;

pub use attachment::{Attachment, is_host_interface};
pub use endpoint::{EndpointRecord, PodIdentity};
pub use namespace::{Namespace, NotANamespace, may_route};
pub use subnet_env::PodNetwork;
