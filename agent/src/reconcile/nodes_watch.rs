//! Whether the source has published other nodes than those that a pass works on.

use std::sync::Arc;

use tokio::sync::watch;
use weir_cluster::Published;
use weir_model::Nodes;

/// Watches the source for other nodes than those of one snapshot.
pub(super) struct NodesWatch {
    published: watch::Receiver<Published>,
    nodes: Option<Arc<Nodes>>,
}

impl NodesWatch {
    /// Watches for other nodes than `nodes`; `None` means that no snapshot has been published yet.
    pub(super) const fn new(
        published: watch::Receiver<Published>,
        nodes: Option<Arc<Nodes>>,
    ) -> Self {
        Self { published, nodes }
    }

    /// Whether the source has published other nodes.
    pub(super) fn has_changed(&self) -> bool {
        let published = self.published.borrow();
        published.snapshot.as_ref().map(|snapshot| &snapshot.nodes) != self.nodes.as_ref()
    }

    /// Waits until the source has published other nodes.
    pub(super) async fn changed(&mut self) {
        while !self.has_changed() {
            if self.published.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
