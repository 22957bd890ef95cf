//! Both sources give the same snapshot for the same objects.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::kinds::Kind;
use crate::state_assembler::StateAssembler;
use crate::{Published, Source, directory::DirectorySource};
use weir_model::Snapshot;

const NODES: &str = "
apiVersion: v1
kind: Node
metadata:
  name: a
  uid: u-a
  creationTimestamp: 2026-01-02T03:04:05Z
  labels: {topology.kubernetes.io/zone: z}
  annotations: {weir.dev/underlay-ip: 198.51.100.1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:1::/64']}
status:
  addresses: [{type: Hostname, address: a}, {type: InternalIP, address: 192.0.2.1}]
  conditions: [{type: NetworkUnavailable, status: 'True'}]
---
apiVersion: v1
kind: Node
metadata: {name: b}
spec: {podCIDRs: [10.244.2.0/24, here]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: InternalIP}]}
";

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, uid: u-web}
spec:
  clusterIPs: [10.96.0.10, 'fd00:96::a']
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}, {name: odd, port: 70000}]
  sessionAffinity: ClientIP
  internalTrafficPolicy: Local
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: other, labels: {service.kubernetes.io/service-proxy-name: other}}
spec: {clusterIP: 10.96.0.11}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.244.1.2], nodeName: a, conditions: {ready: false, serving: true}}
- {addresses: [127.0.0.1]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: names, labels: {kubernetes.io/service-name: web}}
addressType: FQDN
endpoints: [{addresses: [example.org]}]
";

/// An object as it comes from the API server, with its kind.
type Object = (Kind, Value);

fn objects(yaml: &str) -> Vec<Object> {
    let documents = yaml.split("---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let with_kind = documents.map(|object| {
        let text = |key: &str| object[key].as_str().unwrap();
        (Kind::named(text("apiVersion"), text("kind")).unwrap(), object)
    });
    with_kind.collect()
}

/// The event of a watch with an object of the visited kind.
struct WatchEvent {
    object: Value,
    event: What,
}

/// Which event of a watch.
enum What {
    Listed,
    Applied,
    Deleted,
}

impl KindVisitor for WatchEvent {
    type Output = ResourceEvent;

    fn visit<K: ListedKind>(self) -> ResourceEvent {
        let object: K = serde_json::from_value(self.object).unwrap();
        resource_event(&match self.event {
            What::Listed => Event::InitApply(object),
            What::Applied => Event::Apply(object),
            What::Deleted => Event::Delete(object),
        })
    }
}

fn handle(assembler: &mut StateAssembler, (kind, object): &Object, event: What) {
    let event = kind.visit(WatchEvent { object: object.clone(), event });
    assembler.handle(*kind, event);
}

/// Lists the objects of all kinds.
fn list(objects: &[Object]) -> StateAssembler {
    let mut assembler = StateAssembler::new(Kind::ALL.iter().copied());
    for kind in Kind::ALL {
        assembler.handle(*kind, ResourceEvent::ListBegun);
        for object in objects.iter().filter(|(of, _)| of == kind) {
            handle(&mut assembler, object, What::Listed);
        }
        assembler.handle(*kind, ResourceEvent::ListComplete);
    }
    assembler
}

#[tokio::test]
async fn both_sources_give_the_same_snapshot_for_the_same_objects() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("services.yaml");
    fs::write(folder.path().join("nodes.yaml"), NODES).unwrap();
    fs::write(&file, SERVICES).unwrap();
    let (publisher, mut reader) = tokio::sync::watch::channel(Published::default());
    tokio::spawn(DirectorySource::new(folder.path()).run(publisher));
    let mut expect = async |snapshot: Option<Snapshot>| {
        let snapshot = snapshot.expect("the lists are complete");
        let fits = |published: &Published| published.snapshot.as_deref() == Some(&snapshot);
        let found = timeout(Duration::from_secs(5), reader.wait_for(fits)).await.is_ok();
        assert!(found, "{snapshot:?} is not {:?}", reader.borrow().snapshot);
    };

    let (nodes, before) = (objects(NODES), objects(SERVICES));
    let mut assembler = list(&[nodes, before.clone()].concat());
    let snapshot = assembler.snapshot().unwrap();
    assert_eq!(
        (snapshot.nodes.len(), snapshot.services.len(), snapshot.slices.len()),
        (2, 1, 1),
        "the objects that Weir ignores are not in it"
    );
    expect(Some(snapshot)).await;

    // A Service changes, another one gets a cluster IP, and a slice is deleted.
    let changed = SERVICES
        .replace("port: 80}", "port: 81}")
        .replace("port: 70000", "port: 7000")
        .replace("clusterIP: None", "clusterIP: 10.96.0.12");
    let changed = changed.split("---\n").take(3).collect::<Vec<_>>().join("---\n");
    let new = fs::write(file.with_extension("new"), &changed);
    new.and_then(|()| fs::rename(file.with_extension("new"), &file)).unwrap();
    let after = objects(&changed);
    for object in &after {
        handle(&mut assembler, object, What::Applied);
    }
    for object in before.iter().skip(after.len()) {
        handle(&mut assembler, object, What::Deleted);
    }
    let snapshot = assembler.snapshot().unwrap();
    assert_eq!((snapshot.services.len(), snapshot.slices.len()), (2, 0));
    expect(Some(snapshot)).await;
}
