//! Reporting problems that only an operator can solve.
//!
//! The reconciler reports all of its concerns ([`Concern`]) in each pass. A new concern is logged
//! and, with a Kubernetes source, becomes an Event of the node. A concern that persists is not
//! repeated, except that its Event is renewed before it expires. The end of a concern is logged.
//!
//! The methods neither wait nor fail: Events go through a bounded queue to a separate task. An Event
//! that cannot be written is dropped, and the next renewal writes it again.

mod concern;
mod flow_table;
mod recorder;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use weir_model::{Node, NodeUid};

use self::recorder::Notice;
pub use self::{concern::Concern, flow_table::FlowTable};

/// The API server forgets Events after an hour by default.
const RENEWAL: Duration = Duration::from_secs(50 * 60);
/// How many notices can be queued for the API server.
const QUEUE: usize = 64;

/// The agent's current concerns, and where new concerns are reported.
#[derive(Debug)]
pub struct Events {
    node_name: String,
    /// The current concerns, each with the time of its last report.
    current: BTreeMap<Concern, Instant>,
    recorder: Option<mpsc::Sender<Notice>>,
}

impl Events {
    /// Reports concerns in the log only.
    pub fn to_log(node_name: &str) -> Self {
        Self { node_name: node_name.to_owned(), current: BTreeMap::new(), recorder: None }
    }

    /// Reports concerns in the log and as Events. Needs the verbs `create` and `patch` on events of
    /// events.k8s.io in the namespace default, which Events of nodes are in.
    ///
    /// Spawns a task; call it inside a tokio runtime.
    pub fn to_kubernetes(node_name: &str, client: kube::Client) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(recorder::run(client, node_name.to_owned(), receiver));
        Self { recorder: Some(sender), ..Self::to_log(node_name) }
    }

    /// Reports all concerns of a pass. `own` is the agent's node, if the source knows it.
    pub fn report(&mut self, own: Option<&Node>, concerns: BTreeSet<Concern>) {
        self.report_at(Instant::now(), own, concerns);
    }

    fn report_at(&mut self, now: Instant, own: Option<&Node>, concerns: BTreeSet<Concern>) {
        self.current.retain(|concern, _| {
            let persists = concerns.contains(concern);
            if !persists {
                info!(reason = concern.reason(), "over: {concern}");
            }
            persists
        });
        for concern in concerns {
            let reported = self.current.get(&concern).copied();
            if reported.is_none() {
                warn!(reason = concern.reason(), "{concern}");
            }
            if reported.is_none_or(|last| now.saturating_duration_since(last) >= RENEWAL) {
                self.notify(own.map(|node| &node.uid), &concern);
                self.current.insert(concern, now);
            }
        }
    }

    fn notify(&self, uid: Option<&NodeUid>, concern: &Concern) {
        let Some(recorder) = &self.recorder else { return };
        // Otherwise every node of the cluster would write an Event about the same two nodes.
        if !concern.is_for(&self.node_name) {
            return;
        }
        if let Err(error) = recorder.try_send(Notice::new(uid, concern)) {
            debug!(%error, reason = concern.reason(), "the Event is dropped");
        }
    }
}

#[cfg(test)]
mod tests;
