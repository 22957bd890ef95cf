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

const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A loopback API server with one Node.
struct Server {
    /// The condition's status, and how often it was written.
    state: Arc<Mutex<(String, u32)>>,
    /// The requests that it has received.
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
    State((state, requests, reply)): State<Shared>,
    body: String,
) -> (StatusCode, String) {
    let body: Value = serde_json::from_str(&body).unwrap();
    let content = if reply.is_success() {
        let status = body["status"]["conditions"][0]["status"].as_str().unwrap().to_owned();
        let mut state = state.lock().unwrap();
        *state = (status, state.1 + 1);
        json!({"metadata": {"name": "a"}})
    } else {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "User \"u\" cannot patch", "reason": "Forbidden", "code": 403})
    };
    requests.send("patch").unwrap();
    (reply, content.to_string())
}

impl Server {
    async fn start(status: &str, reply: StatusCode) -> Self {
        let state = Arc::new(Mutex::new((status.to_owned(), 0)));
        let (sender, requests) = mpsc::unbounded_channel();
        let app = Router::new()
            .route("/api/v1/nodes/a", get(read))
            .route("/api/v1/nodes/a/status", patch(write))
            .with_state((Arc::clone(&state), sender, reply));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async { axum::serve(listener, app).await });
        let client = Client::try_from(kube::Config::new(url)).unwrap();
        Self { state, requests, client }
    }

    async fn expect_request(&mut self, request: &str) {
        let received = timeout(TIME_LIMIT, self.requests.recv()).await.unwrap();
        assert_eq!(received, Some(request));
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
    let condition = NetworkCondition::with_api("a", server.client.clone());
    condition.report_network_ready(&own(true));
    server.expect_request("get").await;
    server.expect_request("patch").await;
    assert_eq!(server.state(), ("False".to_owned(), 1));

    // The snapshot is older than the Node on the server.
    condition.report_network_ready(&own(true));
    server.expect_request("get").await;
    server.set("True");
    condition.report_network_ready(&own(true));
    server.expect_request("get").await;
    server.expect_request("patch").await;
    assert_eq!(server.state(), ("False".to_owned(), 2));
    assert_eq!(condition.concern(&own(true)), None);
}

#[test]
fn a_condition_that_is_not_true_leads_to_no_request() {
    let (writer, mut wanted) = mpsc::channel(1);
    let condition = NetworkCondition { writer: Some(writer), obstacle: watch::channel(None).1 };
    condition.report_network_ready(&own(false));
    assert!(wanted.try_recv().is_err());
    condition.report_network_ready(&own(true));
    // The first request is still queued and covers both calls, and no call waits.
    condition.report_network_ready(&own(true));
    assert!(wanted.try_recv().is_ok());
    assert!(wanted.try_recv().is_err());
}

#[tokio::test]
async fn the_concern_about_a_denied_verb_names_its_resource_and_the_fix() {
    let server = Server::start("True", StatusCode::FORBIDDEN).await;
    let mut condition = NetworkCondition::with_api("a", server.client.clone());
    condition.report_network_ready(&own(true));
    timeout(TIME_LIMIT, condition.obstacle.changed()).await.unwrap().unwrap();
    let text = condition.concern(&own(true)).unwrap().to_string();
    for words in ["the verb `patch` on `nodes/status`", "cannot patch", "components/cloud"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert_eq!(condition.concern(&own(false)), None);
}

#[tokio::test]
async fn without_an_api_server_the_concern_says_so() {
    let condition = NetworkCondition::without_api();
    condition.report_network_ready(&own(true));
    let text = condition.concern(&own(true)).unwrap().to_string();
    assert!(text.contains("has no API server"), "{text}");
    assert_eq!(condition.concern(&own(false)), None);
}
