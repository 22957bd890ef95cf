use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::kinds::Object;
use weir_model::{Node, ObjectName};

const NODE_A: &str = "\
apiVersion: v1
kind: Node
metadata:
  name: a
  uid: u-a
  creationTimestamp: 2026-01-02T03:04:05Z
spec:
  podCIDR: 10.244.1.0/24
  podCIDRs: [10.244.1.0/24]
status:
  addresses:
  - {type: Hostname, address: a}
  - {type: InternalIP, address: 192.0.2.1}
";

fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.entries.iter().map(|entry| &*entry.key.name.name).collect()
}

fn node(manifest: &Manifest, index: usize) -> Arc<Node> {
    match &manifest.entries[index].object {
        Some(Object::Node(node)) => Arc::clone(node),
        other => panic!("{other:?}"),
    }
}

fn problems(manifest: &Manifest) -> Vec<String> {
    manifest.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_is_read_as_kubectl_writes_it() {
    let manifest = Manifest::parse(NODE_A.as_bytes());
    assert_eq!(problems(&manifest), [""; 0]);
    let node = node(&manifest, 0);
    assert_eq!(node.uid.0, "u-a");
    assert_eq!(node.pod_cidrs, ["10.244.1.0/24".parse().unwrap()]);
    assert_eq!(node.underlay_ips, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(node.created.is_some());
}

#[test]
fn json_and_lists_are_read_too() {
    let json = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}}
    ]}"#;
    let manifest = Manifest::parse(json.as_bytes());
    assert_eq!(problems(&manifest), [""; 0]);
    assert_eq!(names(&manifest), ["a", "s", "b"]);
    assert_eq!(manifest.entries[2].line, 4);
}

#[test]
fn other_kinds_and_empty_documents_are_accepted() {
    let text = "---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\n---\n";
    assert_eq!(Manifest::parse(text.as_bytes()), Manifest::default());
    assert_eq!(Manifest::parse(b""), Manifest::default());
}

#[test]
fn a_broken_document_does_not_affect_the_others() {
    let broken = "kind: Node\n  apiVersion: [v1\n";
    let text = format!("{NODE_A}---\n{broken}---\n{}", NODE_A.replace("name: a", "name: b"));
    let manifest = Manifest::parse(text.as_bytes());
    assert_eq!(names(&manifest), ["a", "b"]);
    assert!(manifest.incomplete);
    assert_eq!(manifest.problems.len(), 1);
    assert!((15..=17).contains(&manifest.problems[0].line), "{:?}", manifest.problems);
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_its_line_and_field() {
    let text = NODE_A.replace("[10.244.1.0/24]", "{a: 1}");
    let text = format!("{NODE_A}---\n{text}");
    let manifest = Manifest::parse(text.as_bytes());
    assert_eq!(names(&manifest), ["a"]);
    let problems = problems(&manifest);
    assert!(problems[0].starts_with("line 23: spec.podCIDRs: "), "{problems:?}");
}

#[test]
fn a_broken_item_of_a_list_does_not_affect_the_others() {
    let text = "apiVersion: v1\nkind: List\nitems:\n\
        - {apiVersion: v1, kind: Node, metadata: {name: a}}\n\
        - {apiVersion: v1, kind: Node, metadata: {name: b}, spec: {podCIDRs: 7}}\n\
        - {apiVersion: v1, metadata: {name: c}}\n";
    let manifest = Manifest::parse(text.as_bytes());
    assert_eq!(names(&manifest), ["a"]);
    let problems = problems(&manifest);
    assert!(problems[0].starts_with("line 5: spec.podCIDRs: "), "{problems:?}");
    assert_eq!(problems[1], "line 6: the object has no `kind`");
}

#[test]
fn an_invalid_address_is_reported_and_the_node_stays() {
    let text = NODE_A.replace("address: 192.0.2.1", "address: here");
    let manifest = Manifest::parse(text.as_bytes());
    assert_eq!(names(&manifest), ["a"]);
    assert_eq!(
        problems(&manifest),
        ["line 1: node a: status.addresses: `here` is not an IP address"]
    );
    assert!(manifest.entries[0].invalid && !manifest.incomplete);
}

#[test]
fn a_node_without_a_name_is_refused() {
    let manifest = Manifest::parse(b"apiVersion: v1\nkind: Node\n");
    assert_eq!(problems(&manifest), ["line 1: the object has no `metadata.name`"]);
}

#[test]
fn broken_objects_keep_their_state() {
    let both = format!("{NODE_A}---\n{}", NODE_A.replace("name: a", "name: b"));
    let good = Manifest::parse(both.as_bytes());

    // One became unreadable, the other changed.
    let newer = format!("kind: [\n---\n{}", both.replace("192.0.2.1", "192.0.2.9"));
    let newer = newer.replace("name: a", "name: c");
    let after = good.updated_to(Manifest::parse(newer.as_bytes()));
    assert_eq!(names(&after), ["c", "b", "a"]);
    assert_eq!(after.entries[2], good.entries[0]);

    // An invalid value: the whole object keeps its state.
    let newer = both.replacen("192.0.2.1", "nowhere", 1);
    let after = good.updated_to(Manifest::parse(newer.as_bytes()));
    assert_eq!(after.entries, good.entries);
    assert_eq!(after.problems.len(), 1);

    // Objects that were removed from a valid file are gone.
    let after = good.updated_to(Manifest::parse(NODE_A.as_bytes()));
    assert_eq!(names(&after), ["a"]);
}

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  clusterIP: 10.96.0.10
  ports:
  - port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s-1
  labels: {kubernetes.io/service-name: s}
addressType: IPv4
ports:
- port: 8080
endpoints:
- addresses: [10.244.1.2]
";

#[test]
fn a_service_and_its_endpoints_are_read() {
    let manifest = Manifest::parse(SERVICE.as_bytes());
    assert_eq!(problems(&manifest), [""; 0]);
    let snapshot = manifest.snapshot();
    let service = snapshot.services.get(&ObjectName::new("default", "s")).unwrap();
    let slice = snapshot.slices.get(&ObjectName::new("default", "s-1")).unwrap();
    assert_eq!((service.name.to_string(), &slice.service), ("default/s".into(), &service.name));
    assert_eq!(
        slice.ports[0].name, service.ports[0].name,
        "a port without a name has the empty name"
    );
    assert_eq!(manifest.entries[1].line, 9);
}

#[test]
fn a_broken_field_of_a_service_is_reported_with_its_line() {
    let broken = SERVICE.replace("port: 80\n", "port: http\n");
    let manifest = Manifest::parse(broken.as_bytes());
    let problems = problems(&manifest);
    assert!(problems[0].starts_with("line 7: spec.ports[0].port: "), "{problems:?}");
    assert_eq!(names(&manifest), ["s-1"]);
}

#[test]
fn a_broken_service_keeps_its_state_and_one_that_became_headless_does_not() {
    let good = Manifest::parse(SERVICE.as_bytes());
    for broken in
        [SERVICE.replace("10.96.0.10", "here"), SERVICE.replace("port: 80\n", "port: {}\n")]
    {
        let after = good.updated_to(Manifest::parse(broken.as_bytes()));
        let services = |manifest: &Manifest| manifest.snapshot().services;
        assert_eq!(services(&after), services(&good));
        assert_eq!(after.problems.len(), 1);
    }
    let headless = SERVICE.replace("10.96.0.10", "None");
    let after = good.updated_to(Manifest::parse(headless.as_bytes()));
    assert_eq!(after.entries[0].object, None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        Manifest::parse(&bytes);
    }

    #[test]
    fn no_damage_to_a_good_file_makes_it_panic(
        cut in 0..NODE_A.len(),
        insert in "[-:{}\\[\\]&*!|>'\"%@#?,a \n\t\u{0}é]{0,8}",
        skip in 0usize..40,
    ) {
        let rest = NODE_A.get((cut + skip).min(NODE_A.len())..).unwrap_or_default();
        let start = NODE_A.get(..cut).unwrap_or_default();
        Manifest::parse(format!("{start}{insert}{rest}").as_bytes());
    }
}
