//! Why a pass did not come to its end.

use crate::causes::causes;
use crate::{
    datapath, install, masquerade,
    overlay::{apply::Failure, plan::NotReady},
};

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the kernel cannot be read or changed")]
    Netlink(#[from] weir_netlink::Error),
    #[error("this node cannot join the pod network yet")]
    NotReady(#[from] NotReady),
    #[error("the data path cannot be kept")]
    Datapath(#[from] datapath::Error),
    #[error("masquerading cannot be set up")]
    Masquerade(#[from] masquerade::Error),
    #[error("the node's files cannot be written")]
    Install(#[from] install::Error),
    #[error("{} operations failed, the first", .0.len())]
    Operations(Vec<Failure>),
    #[error("it makes way for a new snapshot")]
    MadeWay,
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
