//! The task that writes Events.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{debug, warn};
use weir_model::NodeUid;

use super::concern::Concern;

const CONTROLLER: &str = "weir.dev/agent";
const TIME_LIMIT: Duration = Duration::from_secs(10);
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// The API server accepts at most 1 kB.
const NOTE_LIMIT: usize = 1000;

/// An Event to write.
#[derive(Debug)]
pub(super) struct Notice {
    uid: Option<String>,
    reason: &'static str,
    action: &'static str,
    note: String,
    peer: Option<String>,
}

impl Notice {
    pub(super) fn new(uid: Option<&NodeUid>, concern: &Concern) -> Self {
        let mut note = concern.to_string();
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        Self {
            uid: uid.map(|uid| uid.0.clone()),
            reason: concern.reason(),
            action: concern.action(),
            note,
            peer: concern.peer().map(str::to_owned),
        }
    }
}

/// Writes the Events of all notices, until the sender is dropped.
pub(super) async fn run(client: Client, node: String, mut notices: mpsc::Receiver<Notice>) {
    let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(node.clone()) };
    // The recorder turns repeated Events within minutes into one Event with a count.
    let recorder = Recorder::new(client, reporter);
    while let Some(Notice { uid, reason, action, note, peer }) = notices.recv().await {
        let regarding = ObjectReference { uid, ..reference(&node) };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: peer.map(|peer| reference(&peer)),
        };
        publish(&recorder, &event, &regarding).await;
    }
}

async fn publish(recorder: &Recorder, event: &Event, regarding: &ObjectReference) {
    for pause in PAUSES.map(Some).into_iter().chain([None]) {
        let reason = &event.reason;
        match timeout(TIME_LIMIT, recorder.publish(event, regarding)).await {
            Ok(Ok(())) => return,
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                warn!(%reason, error = %status, "the agent is not allowed to write Events");
                return;
            }
            Ok(Err(error)) => debug!(%reason, %error, "an Event could not be written"),
            Err(_) => debug!(%reason, "the API server took too long for an Event"),
        }
        match pause {
            Some(pause) => sleep(pause).await,
            None => warn!(%reason, "an Event could not be written"),
        }
    }
}

fn reference(node: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        ..ObjectReference::default()
    }
}
