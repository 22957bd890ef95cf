use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use weir_cluster::Published;
use weir_model::Snapshot;

use super::*;
use crate::events::Concern;

const HUNG_AFTER: Duration = Duration::from_secs(60);

fn pass(known: usize, programmed: usize) -> Pass {
    Pass {
        took: Duration::from_millis(2),
        peers_known: known,
        peers_programmed: programmed,
        operations: BTreeMap::from([("route_add", 2)]),
        error: None,
    }
}

fn agent() -> (watch::Sender<Published>, Arc<Health>) {
    let (publisher, source) = watch::channel(Published::default());
    (publisher, Arc::new(Health::new(source, HUNG_AFTER)))
}

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

/// The reply to a GET from its status on. Waits until the server listens.
async fn get(address: SocketAddr, path: &str) -> String {
    let reply = async {
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let reply = timeout(Duration::from_secs(10), reply).await.unwrap();
    reply.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
}

#[tokio::test]
async fn an_agent_that_starts_is_alive_and_not_ready() {
    let (_publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, health));
    assert!(get(address, "/healthz").await.starts_with("200 "));
    let reply = get(address, "/readyz").await;
    assert!(reply.starts_with("503 "), "{reply}");
    for condition in Condition::ALL {
        assert!(reply.contains(&format!("waiting {condition}: not yet")), "{reply}");
    }
    assert!(get(address, "/elsewhere").await.starts_with("404 "));
    server.abort();
}

#[tokio::test]
async fn readiness_names_every_unmet_condition() {
    let (publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, Arc::clone(&health)));

    publisher.send_modify(|published| {
        published.status.problems.push("nodes is forbidden".to_owned());
    });
    assert!(get(address, "/readyz").await.contains("waiting cluster-seen: nodes is forbidden"));
    publisher.send_modify(|published| published.snapshot = Some(Arc::new(Snapshot::default())));
    for condition in [
        Condition::SubnetsAssigned,
        Condition::NodeJoined,
        Condition::BridgeEntriesSet,
        Condition::TableWritten,
        Condition::ProgramsAttached,
        Condition::ServicesProgrammed,
        Condition::FlowsSwept,
    ] {
        health.set(condition, Ok(()));
    }
    health.set(Condition::ConfigurationWritten, Err("/etc/cni/net.d is read-only".to_owned()));
    health.record(pass(3, 2));
    let reply = get(address, "/readyz").await;
    assert!(reply.starts_with("503 "), "{reply}");
    assert!(reply.contains("ok cluster-seen\nok subnets-assigned\n"), "{reply}");
    assert!(reply.contains("waiting peers-programmed: 2 of 3 peers are in the kernel"), "{reply}");
    assert!(reply.contains("waiting configuration-written: /etc/cni/net.d is read-only"));

    health.set(Condition::ConfigurationWritten, Ok(()));
    health.record(pass(3, 3));
    assert!(get(address, "/readyz").await.starts_with("200 "));
    health.record(pass(4, 3));
    assert!(get(address, "/readyz").await.starts_with("503 "));
    server.abort();
}

#[test]
fn a_concern_is_a_warning_that_makes_no_node_less_ready() {
    let (publisher, health) = agent();
    publisher.send_modify(|published| published.snapshot = Some(Arc::new(Snapshot::default())));
    for condition in Condition::ALL {
        health.set(condition, Ok(()));
    }
    let without = health.readiness().unwrap();
    assert!(!without.contains("warning"), "{without}");
    let finding = "two\nlines".to_owned();
    let concerns = [Concern::FlowTableFull, Concern::ForwardingDropped { finding }];
    health.record_concerns(&concerns.into());
    let text = health.readiness().unwrap();
    let added = text.strip_prefix(&*without).unwrap();
    let lines: Vec<_> = added.lines().collect();
    assert_eq!(lines[0], "warning ForwardingDropped: two lines");
    assert!(lines[1].starts_with("warning FlowTableFull: packets that begin"), "{text}");
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn metrics_contain_the_recorded_values_and_the_age_of_the_snapshot() {
    let (publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, Arc::clone(&health)));
    publisher.send_modify(|published| published.status.last_synced = Some(Instant::now()));
    health.record(pass(3, 3));
    health.record_repair("tunnel_deleted");
    let reply = get(address, "/metrics").await;
    assert!(reply.starts_with("200 "), "{reply}");
    assert!(reply.contains("content-type: application/openmetrics-text"), "{reply}");
    assert!(reply.contains("weir_operations_total{kind=\"route_add\"} 2"), "{reply}");
    assert!(reply.contains("weir_repairs_total{cause=\"tunnel_deleted\"} 1"), "{reply}");
    assert!(reply.contains("weir_source_lag_seconds 0."), "{reply}");
    server.abort();
}

#[test]
fn a_reconciler_with_failed_passes_is_alive_and_one_without_passes_is_not() {
    let (_publisher, source) = watch::channel(Published::default());
    let health = Health::new(source.clone(), HUNG_AFTER);
    health.record(Pass { error: Some("no such device".to_owned()), ..pass(1, 0) });
    assert_eq!(health.liveness(), Ok("ok; last pass: no such device\n".to_owned()));
    health.record(pass(1, 1));
    assert_eq!(health.liveness(), Ok("ok\n".to_owned()));

    let health = Health::new(source, Duration::ZERO);
    assert!(health.liveness().unwrap_err().contains("has not made a pass"));
}

#[tokio::test]
async fn an_address_that_is_in_use_is_retried() {
    let (_publisher, health) = agent();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let server = tokio::spawn(serve(address, health));
    // The server task makes its first attempt when this task yields.
    tokio::task::yield_now().await;
    assert!(!server.is_finished());
    drop(taken);
    assert!(get(address, "/healthz").await.starts_with("200 "));
    server.abort();
}

#[tokio::test]
async fn names_of_services_and_concerns_are_served_as_json() {
    use weir_model::{ObjectName, Objects, Protocol, Service, ServicePort, TrafficPolicy};

    let (publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, Arc::clone(&health)));
    assert!(get(address, "/services").await.starts_with("503 "));
    assert!(get(address, "/concerns").await.ends_with("[]"));

    let name = ObjectName::new("kube-system", "dns");
    let port = ServicePort { name: "udp".into(), protocol: Protocol::Udp, port: 53 };
    let service = Service {
        name: name.clone(),
        created: None,
        cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 10).into()],
        ports: vec![port],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity_seconds: None,
    };
    let mut services = Objects::default();
    services.insert(name, Arc::new(service));
    let snapshot = Snapshot { services, ..Snapshot::default() };
    publisher.send_modify(|published| published.snapshot = Some(Arc::new(snapshot)));
    health.record_concerns(&BTreeSet::from([Concern::PodCidrMissing]));
    let reply = get(address, "/services").await;
    let wanted = r#"[{"namespace":"kube-system","name":"dns","addresses":["10.96.0.10"],"ports":[{"name":"udp","protocol":"UDP","port":53}]}]"#;
    assert!(reply.ends_with(wanted), "{reply}");
    let reply = get(address, "/concerns").await;
    assert!(
        reply.contains(r#"[{"reason":"PodCIDRMissing","message":"the node has no "#),
        "{reply}"
    );
    server.abort();
}
