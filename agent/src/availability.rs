//! The Node's condition `NetworkUnavailable`.
//!
//! Some clouds set it to True on a new Node, and the scheduler keeps pods off until the network
//! plugin sets it to False. [`Availability`] does, once the node's network is made, and only if the
//! Node has the condition with the status True: elsewhere nothing is ever written. A cloud that sets
//! it again is answered again.
//!
//! Nothing here waits or fails: a task of its own asks the API server, which knows better than our
//! last snapshot whether there still is anything to correct, and tries until it has an answer. What
//! stands in its way is a [`Concern`].

mod correction;

use kube::Client;
use tokio::sync::{mpsc, watch};

use weir_model::Node;

use crate::events::Concern;

/// Tells the cluster that this node has a network, where the cluster says that it has none.
#[derive(Debug)]
pub struct Availability {
    writer: Option<mpsc::Sender<()>>,
    obstacle: watch::Receiver<Option<String>>,
}

impl Availability {
    /// Without an API server the condition cannot be set, which is a concern where it is True.
    pub fn without_api() -> Self {
        let obstacle = "the agent reads the cluster from files, and has no API server to write to";
        Self { writer: None, obstacle: watch::channel(Some(obstacle.to_owned())).1 }
    }

    /// Writes to the API server. Needs the verbs `get` on nodes and `patch` on nodes/status.
    ///
    /// Spawns a task; call it inside a tokio runtime.
    pub fn by_kubernetes(node_name: &str, client: Client) -> Self {
        // One that waits is enough: it says only that there is something to correct.
        let (writer, wanted) = mpsc::channel(1);
        let (obstacles, obstacle) = watch::channel(None);
        tokio::spawn(correction::run(client, node_name.to_owned(), wanted, obstacles));
        Self { writer: Some(writer), obstacle }
    }

    /// The network of `own` is made: says so if the cluster does not know.
    pub fn network_is_made(&self, own: &Node) {
        if own.network_unavailable
            && let Some(writer) = &self.writer
        {
            // Full means that it is being done.
            let _ = writer.try_send(());
        }
    }

    /// Why `own` still counts as without a network, if that has a reason.
    pub fn concern(&self, own: &Node) -> Option<Concern> {
        let obstacle = self.obstacle.borrow().clone().filter(|_| own.network_unavailable)?;
        Some(Concern::NetworkUnavailable { obstacle })
    }
}

#[cfg(test)]
mod tests;
