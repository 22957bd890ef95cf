//! A Node as it comes from the API server, without what nobody here needs.
//!
//! A full Node is some ten KiB, most of it images and managed fields. This type decodes what the
//! network is made from and skips the rest, so that a list of thousands never exists in memory.

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use crate::node::{INTERNAL_IP, NodeFields, says_unavailable};
use weir_model::{UNDERLAY_ANNOTATION, ZONE_LABEL};

/// The part of a Node that is decoded.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Wire")]
pub(super) struct NodeObject {
    /// Name, uid, version, time of creation, the annotation and the label that count.
    pub(super) metadata: ObjectMeta,
    pod_cidr: Option<String>,
    pod_cidrs: Vec<String>,
    internal_ips: Vec<String>,
    network_unavailable: bool,
}

#[derive(Deserialize)]
struct Wire {
    metadata: WireMeta,
    spec: Option<WireSpec>,
    status: Option<WireStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    annotations: Option<WireAnnotations>,
    labels: Option<WireLabels>,
}

#[derive(Deserialize)]
struct WireAnnotations {
    // serde wants a literal; the test below compares it with the constant.
    #[serde(rename = "weir.dev/underlay-ip")]
    underlay: Option<String>,
}

#[derive(Deserialize)]
struct WireLabels {
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Option<String>,
}

#[derive(Deserialize)]
struct WireSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WireStatus {
    addresses: Option<Vec<WireAddress>>,
    conditions: Option<Vec<WireCondition>>,
}

#[derive(Deserialize)]
struct WireAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Deserialize)]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl From<Wire> for NodeObject {
    fn from(Wire { metadata, spec, status }: Wire) -> Self {
        let WireMeta { name, uid, resource_version, creation_timestamp, annotations, labels } =
            metadata;
        let zone = labels.and_then(|all| all.zone);
        let underlay = annotations.and_then(|all| all.underlay);
        let annotations = underlay.map(|ip| [(UNDERLAY_ANNOTATION.to_owned(), ip)].into());
        let (pod_cidr, pod_cidrs) =
            spec.map_or((None, None), |WireSpec { pod_cidr, pod_cidrs }| (pod_cidr, pod_cidrs));
        let (addresses, conditions) = status
            .map_or((None, None), |WireStatus { addresses, conditions }| (addresses, conditions));
        Self {
            metadata: ObjectMeta {
                name,
                uid,
                resource_version,
                creation_timestamp,
                annotations,
                labels: zone.map(|zone| [(ZONE_LABEL.to_owned(), zone)].into()),
                ..ObjectMeta::default()
            },
            pod_cidr,
            pod_cidrs: pod_cidrs.unwrap_or_default(),
            internal_ips: addresses
                .into_iter()
                .flatten()
                .filter(|address| address.kind == INTERNAL_IP)
                .map(|address| address.address)
                .collect(),
            network_unavailable: conditions
                .into_iter()
                .flatten()
                .any(|condition| says_unavailable(&condition.kind, &condition.status)),
        }
    }
}

impl k8s_openapi::Resource for NodeObject {
    const API_VERSION: &'static str = "v1";
    const GROUP: &'static str = "";
    const KIND: &'static str = "Node";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "nodes";
    type Scope = ClusterResourceScope;
}

impl k8s_openapi::Metadata for NodeObject {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'a> From<&'a NodeObject> for NodeFields<'a> {
    fn from(object: &'a NodeObject) -> Self {
        let NodeObject { metadata, pod_cidr, pod_cidrs, internal_ips, network_unavailable } =
            object;
        let annotations = metadata.annotations.as_ref();
        let labels = metadata.labels.as_ref();
        Self {
            name: metadata.name.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0.into()),
            underlay: annotations.and_then(|all| all.get(UNDERLAY_ANNOTATION)).map(String::as_str),
            pod_cidr: pod_cidr.as_deref(),
            pod_cidrs,
            internal_ips: internal_ips.iter().map(String::as_str).collect(),
            network_unavailable: *network_unavailable,
            zone: labels.and_then(|all| all.get(ZONE_LABEL)).map(String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1;

    use super::*;

    #[test]
    fn it_says_the_same_as_the_full_object() {
        let json = r#"{
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": "a", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"x": "y", "topology.kubernetes.io/zone": "z"},
                "annotations": {"weir.dev/underlay-ip": "198.51.100.1", "other": "z"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]
            },
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "a"},
                    {"type": "InternalIP", "address": "192.0.2.1"}
                ],
                "conditions": [
                    {"type": "Ready", "status": "False", "lastHeartbeatTime": null},
                    {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}
                ],
                "images": [{"names": ["i"], "sizeBytes": 1}]
            }
        }"#;
        let full: v1::Node = serde_json::from_str(json).unwrap();
        let part: NodeObject = serde_json::from_str(json).unwrap();
        let converted = NodeFields::from(&part).convert();
        assert_eq!(converted, NodeFields::from(&full).convert());
        assert_eq!(converted.node.underlay_ips[0].to_string(), "198.51.100.1");
        assert!(converted.node.network_unavailable);
        assert_eq!(converted.node.zone.as_deref(), Some("z"));
        assert!(part.metadata.managed_fields.is_none());
        assert_eq!(part.metadata.labels.unwrap().len(), 1);
    }

    #[test]
    fn a_node_that_is_nearly_empty_is_decoded() {
        let json = r#"{"metadata": {"name": "a"}, "spec": {}, "status": {"addresses": null, "conditions": null}}"#;
        let part: NodeObject = serde_json::from_str(json).unwrap();
        assert_eq!(NodeFields::from(&part).convert().node.name, "a");
    }
}
