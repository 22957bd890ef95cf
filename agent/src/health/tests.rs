use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::*;
use weir_model::Snapshot;

const PATIENCE: Duration = Duration::from_secs(60);

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
    (publisher, Arc::new(Health::new(source, PATIENCE)))
}

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

/// The answer to a GET, from its status on, as soon as there is a server.
async fn get(address: SocketAddr, path: &str) -> String {
    let answer = async {
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(Duration::from_secs(10), answer).await.unwrap();
    answer.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
}

#[tokio::test]
async fn an_agent_that_starts_lives_and_is_not_ready() {
    let (_publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, health));
    assert!(get(address, "/healthz").await.starts_with("200 "));
    let answer = get(address, "/readyz").await;
    assert!(answer.starts_with("503 "), "{answer}");
    for condition in Condition::ALL {
        assert!(answer.contains(&format!("waiting {condition}: not yet")), "{answer}");
    }
    assert!(get(address, "/elsewhere").await.starts_with("404 "));
    server.abort();
}

#[tokio::test]
async fn readiness_names_what_it_waits_for_until_nothing_is_left() {
    let (publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, Arc::clone(&health)));

    publisher.send_modify(|published| {
        published.status.problems.push("nodes is forbidden".to_owned());
    });
    assert!(get(address, "/readyz").await.contains("waiting cluster-seen: nodes is forbidden"));
    publisher.send_modify(|published| published.snapshot = Some(Arc::new(Snapshot::default())));
    for condition in
        [Condition::SubnetsAssigned, Condition::ProgramsAttached, Condition::ServicesProgrammed]
    {
        health.set(condition, Ok(()));
    }
    health.set(Condition::ConfigurationWritten, Err("/etc/cni/net.d is read-only".to_owned()));
    health.record(pass(3, 2));
    let answer = get(address, "/readyz").await;
    assert!(answer.starts_with("503 "), "{answer}");
    assert!(answer.contains("ok cluster-seen\nok subnets-assigned\n"), "{answer}");
    assert!(
        answer.contains("waiting peers-programmed: 2 of 3 peers are in the kernel"),
        "{answer}"
    );
    assert!(answer.contains("waiting configuration-written: /etc/cni/net.d is read-only"));

    health.set(Condition::ConfigurationWritten, Ok(()));
    health.record(pass(3, 3));
    assert!(get(address, "/readyz").await.starts_with("200 "));
    health.record(pass(4, 3));
    assert!(get(address, "/readyz").await.starts_with("503 "));
    server.abort();
}

#[tokio::test]
async fn metrics_tell_what_was_recorded_and_how_old_the_snapshot_is() {
    let (publisher, health) = agent();
    let address = free_address().await;
    let server = tokio::spawn(serve(address, Arc::clone(&health)));
    publisher.send_modify(|published| published.status.last_synced = Some(Instant::now()));
    health.record(pass(3, 3));
    health.record_repair("tunnel_deleted");
    let answer = get(address, "/metrics").await;
    assert!(answer.starts_with("200 "), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
    assert!(answer.contains("weir_operations_total{kind=\"route_add\"} 2"), "{answer}");
    assert!(answer.contains("weir_repairs_total{cause=\"tunnel_deleted\"} 1"), "{answer}");
    assert!(answer.contains("weir_source_lag_seconds 0."), "{answer}");
    server.abort();
}

#[test]
fn a_failed_pass_is_a_sign_of_life_and_silence_is_none() {
    let (_publisher, source) = watch::channel(Published::default());
    let health = Health::new(source.clone(), PATIENCE);
    health.record(Pass { error: Some("no such device".to_owned()), ..pass(1, 0) });
    assert_eq!(health.liveness(), Ok("ok; last pass: no such device\n".to_owned()));
    health.record(pass(1, 1));
    assert_eq!(health.liveness(), Ok("ok\n".to_owned()));

    let health = Health::new(source, Duration::ZERO);
    assert!(health.liveness().unwrap_err().contains("no sign of life"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_tried_again() {
    let (_publisher, health) = agent();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let server = tokio::spawn(serve(address, health));
    // The first attempt is made when this task waits for the first time.
    tokio::task::yield_now().await;
    assert!(!server.is_finished());
    drop(taken);
    assert!(get(address, "/healthz").await.starts_with("200 "));
    server.abort();
}

#[tokio::test]
async fn names_of_services_and_what_concerns_the_agent_are_told_as_json() {
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
    let answer = get(address, "/services").await;
    let wanted = r#"[{"namespace":"kube-system","name":"dns","addresses":["10.96.0.10"],"ports":[{"name":"udp","protocol":"UDP","port":53}]}]"#;
    assert!(answer.ends_with(wanted), "{answer}");
    let answer = get(address, "/concerns").await;
    assert!(
        answer.contains(r#"[{"reason":"PodCIDRMissing","message":"the node has no "#),
        "{answer}"
    );
    server.abort();
}
