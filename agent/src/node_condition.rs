//! The Node's condition `NetworkUnavailable`.
//!
//! Some clouds set it to True on a new Node, and the scheduler keeps pods off the node until the
//! network plugin sets it to False. [`NetworkCondition`] does so once the node's network is ready,
//! and only if the Node has the condition with the status True. Otherwise nothing is written. If the
//! cloud sets the condition again, it is corrected again.
//!
//! The methods neither wait nor fail: a separate task talks to the API server. It reads the Node
//! again, because the last snapshot may be old, and retries until it succeeds. If it cannot correct
//! the condition, that is a [`Concern`].

mod correction;

use kube::Client;
use tokio::sync::{mpsc, watch};
use weir_model::Node;

use crate::events::Concern;

/// Sets the condition `NetworkUnavailable` of this node to False.
#[derive(Debug)]
pub struct NetworkCondition {
    writer: Option<mpsc::Sender<()>>,
    obstacle: watch::Receiver<Option<String>>,
}

impl NetworkCondition {
    /// Without an API server, the condition cannot be set. That is a concern if it is True.
    pub fn without_api() -> Self {
        let obstacle = "the agent reads the cluster from files and has no API server to write to";
        Self { writer: None, obstacle: watch::channel(Some(obstacle.to_owned())).1 }
    }

    /// Writes to the API server. Needs the verbs `get` on nodes and `patch` on nodes/status, which the
    /// component `cloud` of the manifests gives. Without them, that is a concern if the condition is
    /// True.
    ///
    /// Spawns a task; call it inside a tokio runtime.
    pub fn with_api(node_name: &str, client: Client) -> Self {
        // One queued request is enough: it says only that the condition may need a correction.
        let (writer, wanted) = mpsc::channel(1);
        let (obstacles, obstacle) = watch::channel(None);
        tokio::spawn(correction::run(client, node_name.to_owned(), wanted, obstacles));
        Self { writer: Some(writer), obstacle }
    }

    /// Reports that the network of `own` is ready. Requests a correction if the condition is True.
    pub fn report_network_ready(&self, own: &Node) {
        if own.network_unavailable
            && let Some(writer) = &self.writer
        {
            // A full queue means that a correction is already requested.
            let _ = writer.try_send(());
        }
    }

    /// The concern that the condition of `own` is True and cannot be corrected, if that is so.
    pub fn concern(&self, own: &Node) -> Option<Concern> {
        let obstacle = self.obstacle.borrow().clone().filter(|_| own.network_unavailable)?;
        Some(Concern::NetworkUnavailable { obstacle })
    }
}

#[cfg(test)]
mod tests;
