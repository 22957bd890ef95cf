//! The node agent: keeps a node's pod network as the cluster says.
//!
//! ```text
//! source (kube | directory) -> model -> overlay: peers -> plan -> diff -> apply -> the kernel
//!                                    -> masquerade, install
//! ```
//!
//! [`reconcile`] is the loop that drives this. `model`, `overlay::{peers, plan, diff}` and
//! `masquerade::ruleset` are pure. Nothing is written to the API server but Events, and the
//! Node's condition where a cloud has set it ([`availability`]).

pub mod availability;
pub(crate) mod causes;
pub mod datapath;
pub mod events;
pub mod forward;
pub mod headroom;
pub mod health;
pub mod install;
pub mod masquerade;
pub mod metrics;
pub mod net_conf;
pub mod nft;
pub mod options;
pub mod overlay;
pub mod reconcile;
pub mod services;
pub mod underlay;
