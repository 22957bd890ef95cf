//! The task that corrects the condition.

use std::time::Duration;

use k8s_openapi::{api::core::v1, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tracing::{debug, info};
use weir_cluster::{
    backoff::Backoff,
    node::{NETWORK_UNAVAILABLE, says_unavailable},
};

const MANAGER: &str = "weir-agent";
const REASON: &str = "WeirIsUp";
const MESSAGE: &str = "weir-agent has set up the node's pod network";
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// So many failures in a row become a concern: a server may be unreachable for a moment.
const TRIES: u32 = 4;

/// The result of a correction.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The condition is now False.
    Corrected,
    /// The condition was not True.
    Unneeded,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {verb} {resource}")]
    Request {
        verb: &'static str,
        resource: &'static str,
        #[source]
        source: kube::Error,
    },
    #[error("the API server did not reply within {TIME_LIMIT:?}")]
    TimedOut,
}

/// Corrects the condition for every request, until the sender is dropped.
pub(super) async fn run(
    client: Client,
    node: String,
    mut wanted: mpsc::Receiver<()>,
    obstacles: watch::Sender<Option<String>>,
) {
    let nodes = Api::all(client);
    while wanted.recv().await.is_some() {
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            let tried = timeout(TIME_LIMIT, correct(&nodes, &node)).await;
            match tried.unwrap_or(Err(Error::TimedOut)) {
                Ok(outcome) => {
                    if outcome == Outcome::Corrected {
                        info!("set the Node's condition {NETWORK_UNAVAILABLE} to False");
                    }
                    obstacles.send_replace(None);
                    break;
                }
                Err(error) => {
                    debug!(error = error.text(), "cannot correct {NETWORK_UNAVAILABLE}");
                    tries += 1;
                    if tries >= TRIES || error.is_denied() {
                        obstacles.send_replace(Some(error.text()));
                    }
                    sleep(backoff.next_wait()).await;
                }
            }
        }
    }
}

async fn correct(nodes: &Api<v1::Node>, name: &str) -> Result<Outcome, Error> {
    let failed = |verb, resource| move |source| Error::Request { verb, resource, source };
    // A deleted Node needs no correction.
    let node = nodes.get_opt(name).await.map_err(failed("get", "nodes"))?;
    let Some(patch) = node.and_then(|node| correction(&node, Timestamp::now())) else {
        return Ok(Outcome::Unneeded);
    };
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    // A strategic merge goes by the condition's type: the other conditions stay as they are.
    let patched = nodes.patch_status(name, &params, &Patch::Strategic(patch)).await;
    patched.map_err(failed("patch", "nodes/status"))?;
    Ok(Outcome::Corrected)
}

/// The strategic merge patch for a Node, if its condition is True.
fn correction(node: &v1::Node, now: Timestamp) -> Option<Value> {
    let mut conditions = node.status.as_ref()?.conditions.iter().flatten();
    if !conditions.any(|condition| says_unavailable(&condition.type_, &condition.status)) {
        return None;
    }
    let now = Time(now);
    Some(json!({"status": {"conditions": [{
        "type": NETWORK_UNAVAILABLE,
        "status": "False",
        "reason": REASON,
        "message": MESSAGE,
        "lastTransitionTime": now,
        "lastHeartbeatTime": now,
    }]}}))
}

impl Error {
    fn is_denied(&self) -> bool {
        matches!(self, Self::Request { source: kube::Error::Api(status), .. } if status.is_forbidden())
    }

    /// The error as an operator reads it.
    fn text(&self) -> String {
        match self {
            Self::Request { verb, resource, source: kube::Error::Api(status) }
                if status.is_forbidden() =>
            {
                format!(
                    "the API server has denied the verb `{verb}` on `{resource}`: {}; apply \
                     manifests/overlays/cloud, or add manifests/components/cloud to your \
                     kustomization, which allow it",
                    status.message
                )
            }
            Self::Request { source, .. } => format!("{self}: {source}"),
            Self::TimedOut => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(conditions: &Value) -> v1::Node {
        serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn only_a_condition_that_is_true_is_corrected() {
        let now = Timestamp::UNIX_EPOCH;
        let condition = |status: &str| json!({"type": "NetworkUnavailable", "status": status});
        let ready = json!({"type": "Ready", "status": "True"});
        assert_eq!(correction(&v1::Node::default(), now), None);
        for right in [json!(null), json!([ready]), json!([condition("False")])] {
            assert_eq!(correction(&node(&right), now), None, "{right}");
        }
        // The scheduler ignores this status too.
        assert_eq!(correction(&node(&json!([condition("Unknown")])), now), None);

        let patch = correction(&node(&json!([ready, condition("True")])), now).unwrap();
        let written = patch["status"]["conditions"].as_array().unwrap();
        assert_eq!(written.len(), 1, "the other conditions are not ours");
        assert_eq!(written[0]["type"], "NetworkUnavailable");
        assert_eq!(written[0]["status"], "False");
        assert_eq!(written[0]["reason"], "WeirIsUp");
        assert_eq!(written[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(written[0]["lastHeartbeatTime"], "1970-01-01T00:00:00Z");
    }
}
