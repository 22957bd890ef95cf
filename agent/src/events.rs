//! Telling the operator what only an operator can put right.
//!
//! The reconciler says after each pass what concerns it ([`Concern`]), all of it. What is new is
//! logged and, with a Kubernetes source, becomes an Event of the node; what stands is not repeated,
//! except that its Event is renewed before it expires; what is over is logged.
//!
//! Nothing here waits or fails: Events go through a bounded queue to a task of their own, and one
//! that cannot be written is dropped until it is due again.

mod concern;
mod recorder;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

pub use self::concern::Concern;
use self::recorder::Notice;
use weir_model::{Node, NodeUid};

/// The API server forgets Events after an hour by default.
const RENEWAL: Duration = Duration::from_secs(50 * 60);
/// Notices that may wait for the API server.
const QUEUE: usize = 64;

/// What concerns the agent now, and where new concerns are told.
#[derive(Debug)]
pub struct Events {
    node_name: String,
    /// When each was last told.
    standing: BTreeMap<Concern, Instant>,
    recorder: Option<mpsc::Sender<Notice>>,
}

impl Events {
    /// Concerns become lines of the log only.
    pub fn to_log(node_name: &str) -> Self {
        Self { node_name: node_name.to_owned(), standing: BTreeMap::new(), recorder: None }
    }

    /// Concerns become lines of the log and Events. Needs the verbs `create` and `patch` on events
    /// of events.k8s.io in the namespace default, where Events of nodes live.
    ///
    /// Spawns a task; call it inside a tokio runtime.
    pub fn to_kubernetes(node_name: &str, client: kube::Client) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(recorder::run(client, node_name.to_owned(), receiver));
        Self { recorder: Some(sender), ..Self::to_log(node_name) }
    }

    /// Takes all that concerns the agent after a pass. `own` is its node, if the source knows it.
    pub fn report(&mut self, own: Option<&Node>, concerns: BTreeSet<Concern>) {
        self.report_at(Instant::now(), own, concerns);
    }

    fn report_at(&mut self, now: Instant, own: Option<&Node>, concerns: BTreeSet<Concern>) {
        self.standing.retain(|concern, _| {
            let stands = concerns.contains(concern);
            if !stands {
                info!(reason = concern.reason(), "over: {concern}");
            }
            stands
        });
        for concern in concerns {
            let told = self.standing.get(&concern).copied();
            if told.is_none() {
                warn!(reason = concern.reason(), "{concern}");
            }
            if told.is_none_or(|told| now.saturating_duration_since(told) >= RENEWAL) {
                self.notify(own.map(|node| &node.uid), &concern);
                self.standing.insert(concern, now);
            }
        }
    }

    fn notify(&self, uid: Option<&NodeUid>, concern: &Concern) {
        let Some(recorder) = &self.recorder else { return };
        // Else every node of the cluster would write an Event about the same two.
        if !concern.is_for(&self.node_name) {
            return;
        }
        if let Err(error) = recorder.try_send(Notice::new(uid, concern)) {
            debug!(%error, reason = concern.reason(), "no Event is written");
        }
    }
}

#[cfg(test)]
mod tests;
