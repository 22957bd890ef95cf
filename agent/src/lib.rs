//! The node agent: maintains a node's pod network as the state of the cluster requires.
//!
//! ```text
//! source (kube | directory) -> snapshot -> overlay: peers -> plan -> diff -> apply -> the kernel
//!                                       -> masquerade, datapath, install
//! ```
//!
//! [`reconcile`] is the loop that runs these steps. [`services`] is a loop of its own, which writes
//! Services to the data path's maps. `overlay::{peers, plan, diff}`, `datapath::{plan, diff}` and
//! `masquerade::ruleset` are pure. The agent writes only Events to the API server, and the Node's
//! condition `NetworkUnavailable` if a cloud has set it ([`node_condition`]).

pub(crate) mod causes;
pub mod datapath;
pub mod events;
pub mod firewall_check;
pub mod headroom;
pub mod health;
pub mod install;
pub mod map_capacity;
pub mod masquerade;
pub mod metrics;
pub mod net_conf;
pub mod nft;
pub mod node_condition;
pub mod options;
pub mod overlay;
pub mod reconcile;
pub mod services;
pub mod underlay;
