//! The decoded part of a Kubernetes Node, and its conversion to the model's node.
//!
//! A full Node is some ten KiB, most of it images and managed fields. This type skips them, so a
//! list of thousands of full objects never exists in memory.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::meta;
use crate::validation::{InvalidValue, Validation, ValidationError, is_unicast_target};
use crate::watched_resource::{WatchedResource, decoded_part_of};
use weir_model::{Node, NodeUid, ObjectName, UNDERLAY_ANNOTATION, ZONE_LABEL};

/// The type of address in `status.addresses` that other nodes reach a node by.
const INTERNAL_IP: &str = "InternalIP";
/// The type of condition in `status.conditions` that keeps pods off a node.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// Whether a condition says that the node has no network. `Unknown` does not keep pods off.
pub fn says_unavailable(kind: &str, status: &str) -> bool {
    kind == NETWORK_UNAVAILABLE && status == "True"
}

/// The decoded part of a Node.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeObject {
    #[serde(default, deserialize_with = "meta::deserialize")]
    metadata: ObjectMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Debug, Clone, Deserialize)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    addresses: Option<Vec<Address>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    address: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
}

decoded_part_of!(v1::Node, NodeObject);

impl WatchedResource for NodeObject {
    type Model = Node;

    const NOUN: &'static str = "node";
    const SELECTOR: Option<&'static str> = None;

    fn object_name(&self) -> ObjectName {
        ObjectName::new("", self.name())
    }

    /// An invalid annotation counts as no annotation.
    fn convert(&self) -> (Option<Node>, Vec<InvalidValue>) {
        let name = self.object_name();
        let mut validation = Validation::new(Self::NOUN, &name);
        let zone = meta::label(&self.metadata, ZONE_LABEL);
        let node = Node {
            uid: self.uid(),
            name: self.name().to_owned(),
            created: self.metadata.creation_timestamp.as_ref().map(|time| time.0.into()),
            pod_cidrs: self.subnets(&mut validation),
            underlay_ips: self.underlay_ips(&mut validation),
            network_unavailable: self.is_network_unavailable(),
            zone: zone.filter(|zone| !zone.is_empty()).map(str::to_owned),
        };
        (Some(node), validation.into_invalid())
    }

    fn identity(node: &Node) -> Option<&str> {
        Some(&node.uid.0)
    }
}

impl NodeObject {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The name stands in for the uid, which manifests written by hand lack.
    fn uid(&self) -> NodeUid {
        match self.metadata.uid.as_deref() {
            Some(uid) if !uid.is_empty() => NodeUid(uid.to_owned()),
            _ => NodeUid(format!("name:{}", self.name())),
        }
    }

    fn is_network_unavailable(&self) -> bool {
        let mut conditions =
            self.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| says_unavailable(&condition.kind, &condition.status))
    }

    fn subnets(&self, validation: &mut Validation<'_>) -> Vec<IpNetwork> {
        let spec = self.spec.as_ref();
        let pod_cidrs = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default();
        let (field, texts): (_, Vec<&str>) = if pod_cidrs.is_empty() {
            // The older field.
            let pod_cidr = spec.and_then(|spec| spec.pod_cidr.as_deref());
            ("spec.podCIDR", pod_cidr.into_iter().collect())
        } else {
            ("spec.podCIDRs", pod_cidrs.iter().map(String::as_str).collect())
        };
        let mut subnets: Vec<IpNetwork> = Vec::new();
        for text in texts.into_iter().filter(|text| !text.is_empty()) {
            let Some(subnet) = parse_subnet(text) else {
                validation.reject(field, ValidationError::NotASubnet(text.to_owned()));
                continue;
            };
            if subnets.iter().any(|other| other.is_ipv4() == subnet.is_ipv4()) {
                validation.reject(field, ValidationError::SecondSubnetOfFamily(subnet));
            } else {
                subnets.push(subnet);
            }
        }
        subnets
    }

    fn underlay_ips(&self, validation: &mut Validation<'_>) -> Vec<IpAddr> {
        let annotations = self.metadata.annotations.as_ref();
        let mut chosen = Vec::new();
        if let Some(text) = annotations.and_then(|all| all.get(UNDERLAY_ANNOTATION)) {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            let field = "metadata.annotations[weir.dev/underlay-ip]";
            add_addresses(&mut chosen, texts, field, validation);
        }
        if chosen.is_empty() {
            let addresses = self.status.iter().flat_map(|status| status.addresses.iter().flatten());
            let texts = addresses.filter(|address| address.kind == INTERNAL_IP);
            let texts = texts.map(|address| address.address.as_str());
            add_addresses(&mut chosen, texts, "status.addresses", validation);
        }
        chosen
    }
}

fn add_addresses<'a>(
    chosen: &mut Vec<IpAddr>,
    texts: impl Iterator<Item = &'a str>,
    field: &'static str,
    validation: &mut Validation<'_>,
) {
    for text in texts {
        match text.parse::<IpAddr>() {
            Err(_) => validation.reject(field, ValidationError::NotAnAddress(text.to_owned())),
            Ok(ip) if !is_unicast_target(ip) => {
                validation.reject(field, ValidationError::UnreachableNodeAddress(ip));
            }
            Ok(ip) if chosen.contains(&ip) => {}
            Ok(ip) => chosen.push(ip),
        }
    }
}

/// Parses a subnet in CIDR notation. Bits of the host part are dropped, as Kubernetes does.
fn parse_subnet(text: &str) -> Option<IpNetwork> {
    // A text without a length would parse as a single address.
    let parsed: IpNetwork = text.contains('/').then(|| text.parse().ok())??;
    IpNetwork::new(parsed.network(), parsed.prefix()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn convert(json: Value) -> (Node, Vec<String>) {
        let object: NodeObject = serde_json::from_value(json).unwrap();
        let (node, invalid) = object.convert();
        (node.unwrap(), invalid.iter().map(ToString::to_string).collect())
    }

    fn internal_ips(ips: &[&str]) -> Value {
        let addresses: Vec<_> =
            ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        json!({"addresses": addresses})
    }

    fn parse_ips(ips: &[&str]) -> Vec<IpAddr> {
        ips.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn a_node_is_converted() {
        let (node, invalid) = convert(json!({
            "metadata": {"name": "a", "uid": "u-1"},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
            "status": internal_ips(&["192.0.2.1", "2001:db8::1", "192.0.2.1"]),
        }));
        assert_eq!(invalid, [""; 0]);
        assert_eq!(node.uid, NodeUid("u-1".into()));
        assert_eq!(node.pod_cidr(true), Some("10.244.1.0/24".parse().unwrap()));
        assert_eq!(node.pod_cidr(false), Some("fd00:1::/64".parse().unwrap()));
        assert_eq!(node.underlay_ips, parse_ips(&["192.0.2.1", "2001:db8::1"]));
    }

    #[test]
    fn the_older_field_is_used_where_the_newer_one_is_empty() {
        let (node, _) =
            convert(json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.1.9/24"}}));
        assert_eq!(node.pod_cidrs, ["10.244.1.0/24".parse().unwrap()]);
    }

    #[test]
    fn the_annotation_replaces_the_addresses() {
        let (node, _) = convert(json!({
            "metadata": {
                "name": "a",
                "annotations": {UNDERLAY_ANNOTATION: "198.51.100.7, 2001:db8::7"},
            },
            "status": internal_ips(&["192.0.2.1"]),
        }));
        assert_eq!(node.underlay_ips, parse_ips(&["198.51.100.7", "2001:db8::7"]));
    }

    #[test]
    fn an_invalid_annotation_is_reported_and_counts_as_none() {
        let (node, invalid) = convert(json!({
            "metadata": {"name": "a", "annotations": {UNDERLAY_ANNOTATION: "eth1"}},
            "status": internal_ips(&["192.0.2.1"]),
        }));
        assert_eq!(node.underlay_ips, parse_ips(&["192.0.2.1"]));
        assert_eq!(
            invalid,
            ["node a: metadata.annotations[weir.dev/underlay-ip]: `eth1` is not an IP address"]
        );
    }

    #[test]
    fn invalid_values_are_reported_and_valid_ones_are_used() {
        let (node, invalid) = convert(json!({
            "metadata": {"name": "a"},
            "spec": {"podCIDRs": ["10.244.1.0", "10.244.2.0/24", "10.244.3.0/24", "fd00::/640"]},
            "status": internal_ips(&["127.0.0.1", "192.0.2.1"]),
        }));
        assert_eq!(node.pod_cidrs, ["10.244.2.0/24".parse().unwrap()]);
        assert_eq!(
            invalid,
            [
                "node a: spec.podCIDRs: `10.244.1.0` is not a subnet in CIDR notation, for example \
                 10.244.1.0/24",
                "node a: spec.podCIDRs: `10.244.3.0/24` is a second subnet of the same family, and \
                 only the first is used",
                "node a: spec.podCIDRs: `fd00::/640` is not a subnet in CIDR notation, for example \
                 10.244.1.0/24",
                "node a: status.addresses: other nodes cannot reach `127.0.0.1`",
            ]
        );
    }

    #[test]
    fn a_node_without_a_uid_is_identified_by_its_name() {
        let (node, _) = convert(json!({"metadata": {"name": "a"}, "spec": {}, "status": {}}));
        assert_eq!(node.uid, NodeUid("name:a".into()));
    }

    #[test]
    fn the_decoded_part_matches_the_full_object() {
        let address = |kind: &str, address: &str| v1::NodeAddress {
            type_: kind.into(),
            address: address.into(),
        };
        let condition = |kind: &str, status: &str| v1::NodeCondition {
            type_: kind.into(),
            status: status.into(),
            ..v1::NodeCondition::default()
        };
        let full = v1::Node {
            metadata: ObjectMeta {
                name: Some("a".into()),
                uid: Some("u".into()),
                creation_timestamp: serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap(),
                labels: Some([(ZONE_LABEL.to_owned(), "z".to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(v1::NodeSpec {
                pod_cidr: Some("10.1.0.0/24".into()),
                pod_cidrs: Some(vec!["10.1.0.0/24".into(), "fd00::/64".into()]),
                ..v1::NodeSpec::default()
            }),
            status: Some(v1::NodeStatus {
                addresses: Some(vec![address("Hostname", "a"), address("InternalIP", "192.0.2.1")]),
                conditions: Some(vec![
                    condition("Ready", "False"),
                    condition("NetworkUnavailable", "True"),
                ]),
                ..v1::NodeStatus::default()
            }),
        };
        let (node, invalid) = convert(serde_json::to_value(full).unwrap());
        assert_eq!(invalid, [""; 0]);
        assert_eq!(node.uid.0, "u");
        assert!(node.created.is_some());
        assert_eq!(node.pod_cidrs.len(), 2);
        assert_eq!(node.underlay_ips, parse_ips(&["192.0.2.1"]));
        assert!(node.network_unavailable);
        assert_eq!(node.zone.as_deref(), Some("z"));
    }
}
