//! Why a pass failed.

use super::pod_bridge::BridgeUnusable;
use crate::{
    causes::causes,
    datapath, install, masquerade,
    overlay::{apply::Failure, plan::NotReady},
};

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the kernel's network configuration cannot be read or changed")]
    Netlink(#[from] weir_netlink::Error),
    #[error("this node cannot join the pod network yet")]
    NotReady(#[from] NotReady),
    #[error("this node cannot join the pod network")]
    Bridge(#[from] BridgeUnusable),
    #[error("the eBPF data path cannot be updated")]
    Datapath(#[from] datapath::Error),
    #[error("the endpoint records cannot be read")]
    Records(#[from] weir_node::endpoint::ReadError),
    #[error("masquerading cannot be set up")]
    Masquerade(#[from] masquerade::Error),
    #[error("the node's files cannot be written")]
    Install(#[from] install::Error),
    #[error("{} operations failed; the first one", .0.len())]
    Operations(Vec<Failure>),
    #[error("a new snapshot preempted the pass")]
    Preempted,
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &Error) -> String {
    match error {
        Error::Operations(failures) => match failures.first() {
            Some(first) => format!("{error}: {}", causes(first)),
            None => error.to_string(),
        },
        _ => causes(error),
    }
}
