use std::net::Ipv4Addr;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use super::*;
use crate::headroom::Thresholds;

fn node(name: &str) -> Node {
    Node {
        uid: NodeUid(format!("{name}-uid")),
        name: name.to_owned(),
        created: None,
        pod_cidrs: Vec::new(),
        underlay_ips: Vec::new(),
        network_unavailable: false,
        zone: None,
    }
}

fn overlap(refused: &str, kept: &str) -> Concern {
    let cidr = "10.244.1.0/24".parse().unwrap();
    Concern::PodCidrOverlap { refused: refused.to_owned(), cidr, kept: kept.to_owned() }
}

/// Events, and the receiving end of their queue.
fn events() -> (Events, mpsc::Receiver<Notice>) {
    let (sender, receiver) = mpsc::channel(2);
    (Events { recorder: Some(sender), ..Events::to_log("a") }, receiver)
}

fn count(receiver: &mut mpsc::Receiver<Notice>) -> usize {
    std::iter::from_fn(|| receiver.try_recv().ok()).count()
}

#[test]
fn a_concern_that_persists_is_reported_once_and_renewed_before_it_expires() {
    let (mut events, mut queue) = events();
    let start = Instant::now();
    let minutes = |count: u64| start + Duration::from_secs(count * 60);
    let mut report = |at, concerns: &[Concern]| {
        events.report_at(at, None, concerns.iter().cloned().collect());
        count(&mut queue)
    };
    assert_eq!(report(start, &[Concern::PodCidrMissing]), 1);
    assert_eq!(report(minutes(1), &[Concern::PodCidrMissing]), 0);
    assert_eq!(report(minutes(51), &[Concern::PodCidrMissing]), 1);
    assert_eq!(report(minutes(52), &[Concern::PodCidrMissing, overlap("a", "b")]), 1);
    assert_eq!(report(minutes(53), &[]), 0);
    assert_eq!(report(minutes(54), &[Concern::PodCidrMissing]), 1, "it is back");
}

#[test]
fn only_the_two_nodes_of_a_conflict_write_events_about_it() {
    let (mut events, mut queue) = events();
    events.report(None, [overlap("b", "c")].into());
    assert_eq!(count(&mut queue), 0);
    events.report(None, [overlap("b", "a")].into());
    assert_eq!(count(&mut queue), 1);
}

#[test]
fn a_full_queue_and_an_ended_task_block_nothing() {
    let (mut events, mut queue) = events();
    let peers = ["b", "c", "d", "e"].map(|peer| overlap(peer, "a"));
    events.report(None, peers.clone().into());
    assert_eq!(count(&mut queue), 2);
    drop(queue);
    events.report(None, BTreeSet::new());
    events.report(None, peers.into());
}

#[test]
fn every_concern_names_a_solution_and_fits_into_an_event() {
    let address = Ipv4Addr::LOCALHOST.into();
    let text = |text: &str| text.to_owned();
    let concerns = [
        (Concern::PodCidrMissing, "--allocate-node-cidrs"),
        (overlap("a", "b"), "delete the wrong Node"),
        (Concern::EndpointShared { refused: text("a"), address, kept: text("b") }, "correct"),
        (Concern::EndpointNotOnLink { peer: text("b"), address, link: text("eth0") }, "vxlan"),
        (Concern::ForwardingDropped { finding: "é".repeat(2000) }, "é"),
        (Concern::NetworkUnavailable { obstacle: text("denied") }, "denied"),
        (
            Concern::BridgeEntriesChanged {
                bridge: text("weir0"),
                count: 2,
                example: text("there was none"),
            },
            "bridge monitor fdb",
        ),
        (
            Concern::MacAddressShared {
                mac: text("02:00:00:00:00:01"),
                kept: text("bridge weir0"),
                cut_off: text("shop/cart"),
            },
            "delete the pod",
        ),
        (Concern::BridgePortsScarce { bridge: text("weir0"), none_left: false }, "--max-pods"),
        (
            Concern::NeighbourTableSmall {
                ipv4: false,
                wanted: Thresholds([256, 1024, 2048]),
                obstacle: text("read-only"),
            },
            "net.ipv6.neigh.default.gc_thresh3=2048",
        ),
        (
            Concern::FlowTableFilling {
                table: FlowTable { is_tcp: true, is_ipv4: false },
                flows: 32_768,
            },
            "--map-capacity=flows-tcp=N",
        ),
        (Concern::FlowTableFull, "--map-capacity"),
        (
            Concern::ClusterStateIncomplete { problem: text("a.yaml: line 3"), others: 2 },
            "and 2 more, see the agent's log); what was last known of it stays in use: correct",
        ),
        (
            Concern::EndpointRecordsLost {
                directory: "/run/weir/endpoints".into(),
                count: 2,
                example: text("weir0123456789a"),
            },
            "/run/weir/endpoints (weir0123456789a)",
        ),
        (Concern::NodeNotJoined { obstacle: text("no uplink") }, "correct the cause"),
        (
            Concern::SourceCheckStrict { bridge: text("weir0"), obstacle: text("read-only") },
            "net.ipv4.conf.weir0.rp_filter=2",
        ),
    ];
    for (concern, solution) in concerns {
        assert!(concern.to_string().contains(solution), "{concern}");
        assert!(!format!("{:?}", Notice::new(None, &concern)).is_empty());
    }
}

/// A loopback API server for Events, and the Events that it receives.
async fn api_server(status: StatusCode) -> (kube::Client, mpsc::UnboundedReceiver<Value>) {
    type Sent = mpsc::UnboundedSender<Value>;
    let (sender, receiver) = mpsc::unbounded_channel();
    let take = async move |State(sent): State<Sent>, body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        sent.send(body.clone()).unwrap();
        let denied = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
        let reply = if status.is_success() { body } else { denied };
        (status, reply.to_string())
    };
    let app = Router::new()
        .route("/apis/events.k8s.io/v1/namespaces/default/events", post(take))
        .with_state(sender);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    (kube::Client::try_from(kube::Config::new(url)).unwrap(), receiver)
}

#[tokio::test]
async fn an_event_belongs_to_this_node_and_names_the_other_node() {
    let (client, mut sent) = api_server(StatusCode::CREATED).await;
    let mut events = Events::to_kubernetes("a", client);
    events.report(Some(&node("a")), [overlap("b", "a")].into());
    let event = timeout(Duration::from_secs(10), sent.recv()).await.unwrap().unwrap();
    assert_eq!(event["reason"], "PodCIDROverlap");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["regarding"]["kind"], "Node");
    assert_eq!(event["regarding"]["name"], "a");
    assert_eq!(event["regarding"]["uid"], "a-uid");
    assert_eq!(event["related"]["name"], "b");
    assert_eq!(event["reportingController"], "weir.dev/agent");
    assert_eq!(event["reportingInstance"], "a");
    assert!(event["note"].as_str().unwrap().contains("10.244.1.0/24"));
}

#[tokio::test]
async fn forbidden_events_are_not_retried() {
    let (client, mut sent) = api_server(StatusCode::FORBIDDEN).await;
    let mut events = Events::to_kubernetes("a", client);
    events.report(None, [Concern::PodCidrMissing].into());
    events.report(None, [Concern::PodCidrMissing, overlap("a", "b")].into());
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let event = timeout(Duration::from_secs(10), sent.recv()).await.unwrap().unwrap();
        reasons.push(event["reason"].clone());
    }
    assert_eq!(reasons, ["PodCIDRMissing", "PodCIDROverlap"]);
}
