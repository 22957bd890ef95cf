use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, patch},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use super::*;
use crate::overlay::peers::tests::node;

const PATIENCE: Duration = Duration::from_secs(30);

/// An API server with one Node, on loopback.
struct Server {
    /// The condition's status, and how often it was written.
    state: Arc<Mutex<(String, u32)>>,
    /// What is asked of it.
    requests: mpsc::UnboundedReceiver<&'static str>,
    client: Client,
}

type Shared = (Arc<Mutex<(String, u32)>>, mpsc::UnboundedSender<&'static str>, StatusCode);

async fn read(State((state, requests, _)): State<Shared>) -> String {
    requests.send("get").unwrap();
    let status = state.lock().unwrap().0.clone();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"},
        "status": {"conditions": [{"type": "NetworkUnavailable", "status": status}]}})
    .to_string()
}

async fn write(
    State((state, requests, answer)): State<Shared>,
    body: String,
) -> (StatusCode, String) {
    let body: Value = serde_json::from_str(&body).unwrap();
    let said = if answer.is_success() {
        let status = body["status"]["conditions"][0]["status"].as_str().unwrap().to_owned();
        let mut state = state.lock().unwrap();
        *state = (status, state.1 + 1);
        json!({"metadata": {"name": "a"}})
    } else {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "User \"u\" cannot patch", "reason": "Forbidden", "code": 403})
    };
    requests.send("patch").unwrap();
    (answer, said.to_string())
}

impl Server {
    async fn start(status: &str, answer: StatusCode) -> Self {
        let state = Arc::new(Mutex::new((status.to_owned(), 0)));
        let (sender, requests) = mpsc::unbounded_channel();
        let app = Router::new()
            .route("/api/v1/nodes/a", get(read))
            .route("/api/v1/nodes/a/status", patch(write))
            .with_state((Arc::clone(&state), sender, answer));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async { axum::serve(listener, app).await });
        let client = Client::try_from(kube::Config::new(url)).unwrap();
        Self { state, requests, client }
    }

    async fn was_asked(&mut self, request: &str) {
        let asked = timeout(PATIENCE, self.requests.recv()).await.unwrap();
        assert_eq!(asked, Some(request));
    }

    fn state(&self) -> (String, u32) {
        self.state.lock().unwrap().clone()
    }

    fn set(&self, status: &str) {
        status.clone_into(&mut self.state.lock().unwrap().0);
    }
}

fn own(network_unavailable: bool) -> Node {
    Node { network_unavailable, ..node("a", 0, &[], &[]) }
}

#[tokio::test]
async fn the_condition_is_set_to_false_once_and_again_when_it_is_true_again() {
    let mut server = Server::start("True", StatusCode::OK).await;
    let availability = Availability::by_kubernetes("a", server.client.clone());
    availability.network_is_made(&own(true));
    server.was_asked("get").await;
    server.was_asked("patch").await;
    assert_eq!(server.state(), ("False".to_owned(), 1));

    // The watch is behind: the server knows better.
    availability.network_is_made(&own(true));
    server.was_asked("get").await;
    server.set("True");
    availability.network_is_made(&own(true));
    server.was_asked("get").await;
    server.was_asked("patch").await;
    assert_eq!(server.state(), ("False".to_owned(), 2));
    assert_eq!(availability.concern(&own(true)), None);
}

#[test]
fn where_the_condition_is_not_true_nothing_is_asked() {
    let (writer, mut wanted) = mpsc::channel(1);
    let availability = Availability { writer: Some(writer), obstacle: watch::channel(None).1 };
    availability.network_is_made(&own(false));
    assert!(wanted.try_recv().is_err());
    availability.network_is_made(&own(true));
    // Nobody has taken the first one yet: it is for both, and nothing waits.
    availability.network_is_made(&own(true));
    assert!(wanted.try_recv().is_ok());
    assert!(wanted.try_recv().is_err());
}

#[tokio::test]
async fn a_denied_verb_is_named_with_its_resource_and_its_remedy() {
    let server = Server::start("True", StatusCode::FORBIDDEN).await;
    let mut availability = Availability::by_kubernetes("a", server.client.clone());
    availability.network_is_made(&own(true));
    timeout(PATIENCE, availability.obstacle.changed()).await.unwrap().unwrap();
    let text = availability.concern(&own(true)).unwrap().to_string();
    for words in ["the verb `patch` on `nodes/status`", "cannot patch", "cluster-role.yaml"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert_eq!(availability.concern(&own(false)), None);
}

#[tokio::test]
async fn without_an_api_server_that_is_said() {
    let availability = Availability::without_api();
    availability.network_is_made(&own(true));
    let text = availability.concern(&own(true)).unwrap().to_string();
    assert!(text.contains("has no API server"), "{text}");
    assert_eq!(availability.concern(&own(false)), None);
}
