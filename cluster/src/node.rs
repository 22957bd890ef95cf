//! From a Kubernetes Node to the model's: pure, and the same for every source.

use std::net::IpAddr;
use std::time::SystemTime;

use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1;
use thiserror::Error;

use weir_model::{Node, NodeUid, UNDERLAY_ANNOTATION, ZONE_LABEL};

/// The type of address in `status.addresses` that other nodes reach a node by.
pub(crate) const INTERNAL_IP: &str = "InternalIP";
/// The type of condition in `status.conditions` that keeps pods off a node.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// What the network needs of a Node object, as it is written there.
#[derive(Debug, Default)]
pub(crate) struct NodeFields<'a> {
    /// `metadata.name`.
    pub(crate) name: &'a str,
    /// `metadata.uid`.
    pub(crate) uid: Option<&'a str>,
    /// `metadata.creationTimestamp`.
    pub(crate) created: Option<SystemTime>,
    /// The annotation [`UNDERLAY_ANNOTATION`].
    pub(crate) underlay: Option<&'a str>,
    /// `spec.podCIDR`, the older form of the next.
    pub(crate) pod_cidr: Option<&'a str>,
    /// `spec.podCIDRs`.
    pub(crate) pod_cidrs: &'a [String],
    /// `status.addresses` of type [`INTERNAL_IP`].
    pub(crate) internal_ips: Vec<&'a str>,
    /// Whether a condition in `status.conditions` says so, see [`says_unavailable`].
    pub(crate) network_unavailable: bool,
    /// The label [`ZONE_LABEL`].
    pub(crate) zone: Option<&'a str>,
}

/// A node, and what could not be taken over from the object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Converted {
    /// The node without the wrong values.
    pub(crate) node: Node,
    /// The wrong values.
    pub(crate) wrong: Vec<WrongValue>,
}

/// A field of a Node that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("node {node}: {field}: {fault}")]
pub(crate) struct WrongValue {
    node: String,
    field: &'static str,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Fault {
    #[error("`{0}` is no subnet; one is written like 10.244.1.0/24")]
    NoSubnet(String),
    #[error("`{0}` is a second subnet of the same family, and only the first is used")]
    SecondOfFamily(IpNetwork),
    #[error("`{0}` is no IP address")]
    NoAddress(String),
    #[error("other nodes cannot reach `{0}`")]
    Unreachable(IpAddr),
}

/// Whether a condition says that the node has no network. `Unknown` does not keep pods off.
pub fn says_unavailable(kind: &str, status: &str) -> bool {
    kind == NETWORK_UNAVAILABLE && status == "True"
}

impl<'a> From<&'a v1::Node> for NodeFields<'a> {
    fn from(object: &'a v1::Node) -> Self {
        let v1::Node { metadata, spec, status } = object;
        let annotations = metadata.annotations.as_ref();
        let labels = metadata.labels.as_ref();
        let addresses = status.iter().flat_map(|status| status.addresses.iter().flatten());
        let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        Self {
            name: metadata.name.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0.into()),
            underlay: annotations.and_then(|all| all.get(UNDERLAY_ANNOTATION)).map(String::as_str),
            pod_cidr: spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()),
            pod_cidrs: spec.as_ref().and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or(&[]),
            internal_ips: addresses
                .filter(|address| address.type_ == INTERNAL_IP)
                .map(|address| address.address.as_str())
                .collect(),
            network_unavailable: conditions
                .any(|condition| says_unavailable(&condition.type_, &condition.status)),
            zone: labels.and_then(|all| all.get(ZONE_LABEL)).map(String::as_str),
        }
    }
}

impl NodeFields<'_> {
    /// The model's node. A wrong value is left out of it and named; a wrong annotation is as none.
    pub(crate) fn convert(&self) -> Converted {
        let mut wrong = Vec::new();
        let mut report = |field, fault| {
            wrong.push(WrongValue { node: self.name.to_owned(), field, fault });
        };
        let node = Node {
            uid: self.identity(),
            name: self.name.to_owned(),
            created: self.created,
            pod_cidrs: self.subnets(&mut report),
            underlay_ips: self.underlay_ips(&mut report),
            network_unavailable: self.network_unavailable,
            zone: self.zone.filter(|zone| !zone.is_empty()).map(str::to_owned),
        };
        Converted { node, wrong }
    }

    /// YAML that was written by hand has no uid: there the name is all that identifies a node.
    fn identity(&self) -> NodeUid {
        match self.uid {
            Some(uid) if !uid.is_empty() => NodeUid(uid.to_owned()),
            _ => NodeUid(format!("name:{}", self.name)),
        }
    }

    fn subnets(&self, report: &mut impl FnMut(&'static str, Fault)) -> Vec<IpNetwork> {
        let mut subnets: Vec<IpNetwork> = Vec::new();
        let (field, written): (_, Vec<&str>) = if self.pod_cidrs.is_empty() {
            ("spec.podCIDR", self.pod_cidr.into_iter().collect())
        } else {
            ("spec.podCIDRs", self.pod_cidrs.iter().map(String::as_str).collect())
        };
        for text in written.into_iter().filter(|text| !text.is_empty()) {
            let Some(subnet) = subnet(text) else {
                report(field, Fault::NoSubnet(text.to_owned()));
                continue;
            };
            if subnets.iter().any(|other| other.is_ipv4() == subnet.is_ipv4()) {
                report(field, Fault::SecondOfFamily(subnet));
            } else {
                subnets.push(subnet);
            }
        }
        subnets
    }

    fn underlay_ips(&self, report: &mut impl FnMut(&'static str, Fault)) -> Vec<IpAddr> {
        let mut chosen = Vec::new();
        if let Some(text) = self.underlay {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            add_addresses(&mut chosen, words, "metadata.annotations[weir.dev/underlay-ip]", report);
        }
        if chosen.is_empty() {
            let words = self.internal_ips.iter().copied();
            add_addresses(&mut chosen, words, "status.addresses", report);
        }
        chosen
    }
}

fn add_addresses<'a>(
    chosen: &mut Vec<IpAddr>,
    words: impl Iterator<Item = &'a str>,
    field: &'static str,
    report: &mut impl FnMut(&'static str, Fault),
) {
    for word in words {
        match word.parse::<IpAddr>() {
            Err(_) => report(field, Fault::NoAddress(word.to_owned())),
            Ok(ip) if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() => {
                report(field, Fault::Unreachable(ip));
            }
            Ok(ip) if chosen.contains(&ip) => {}
            Ok(ip) => chosen.push(ip),
        }
    }
}

/// A subnet in address/length form. Bits of the host part are dropped, as Kubernetes does.
fn subnet(text: &str) -> Option<IpNetwork> {
    // Without a length it would be taken for a single address.
    let parsed: IpNetwork = text.contains('/').then(|| text.parse().ok())??;
    IpNetwork::new(parsed.network(), parsed.prefix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(fields: &NodeFields<'_>) -> Vec<String> {
        fields.convert().wrong.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_has_the_subnets_and_addresses_that_its_object_says() {
        let cidrs = ["10.244.1.0/24".to_owned(), "fd00:1::/64".to_owned()];
        let fields = NodeFields {
            name: "a",
            uid: Some("u-1"),
            pod_cidr: Some("10.244.1.0/24"),
            pod_cidrs: &cidrs,
            internal_ips: vec!["192.0.2.1", "2001:db8::1", "192.0.2.1"],
            ..NodeFields::default()
        };
        let Converted { node, wrong } = fields.convert();
        assert_eq!(wrong, []);
        assert_eq!(node.uid, NodeUid("u-1".into()));
        assert_eq!(node.pod_cidr(true), Some("10.244.1.0/24".parse().unwrap()));
        assert_eq!(node.pod_cidr(false), Some("fd00:1::/64".parse().unwrap()));
        let ips: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(node.underlay_ips, ips);
    }

    #[test]
    fn the_older_field_counts_where_the_newer_one_is_empty() {
        let fields = NodeFields { pod_cidr: Some("10.244.1.9/24"), ..NodeFields::default() };
        assert_eq!(fields.convert().node.pod_cidrs, ["10.244.1.0/24".parse().unwrap()]);
    }

    #[test]
    fn the_annotation_replaces_the_addresses() {
        let fields = NodeFields {
            underlay: Some("198.51.100.7, 2001:db8::7"),
            internal_ips: vec!["192.0.2.1"],
            ..NodeFields::default()
        };
        let ips: Vec<IpAddr> =
            vec!["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        assert_eq!(fields.convert().node.underlay_ips, ips);
    }

    #[test]
    fn a_wrong_annotation_is_named_and_is_as_none() {
        let fields = NodeFields {
            name: "a",
            underlay: Some("eth1"),
            internal_ips: vec!["192.0.2.1"],
            ..NodeFields::default()
        };
        let ips: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        assert_eq!(fields.convert().node.underlay_ips, ips);
        assert_eq!(
            problems(&fields),
            ["node a: metadata.annotations[weir.dev/underlay-ip]: `eth1` is no IP address"]
        );
    }

    #[test]
    fn a_wrong_value_is_left_out_and_the_right_ones_stay() {
        let cidrs = ["10.244.1.0", "10.244.2.0/24", "10.244.3.0/24", "fd00::/640"];
        let cidrs = cidrs.map(str::to_owned);
        let fields = NodeFields {
            name: "a",
            pod_cidrs: &cidrs,
            internal_ips: vec!["127.0.0.1", "192.0.2.1"],
            ..NodeFields::default()
        };
        assert_eq!(fields.convert().node.pod_cidrs, ["10.244.2.0/24".parse().unwrap()]);
        assert_eq!(
            problems(&fields),
            [
                "node a: spec.podCIDRs: `10.244.1.0` is no subnet; one is written like 10.244.1.0/24",
                "node a: spec.podCIDRs: `10.244.3.0/24` is a second subnet of the same family, and \
                 only the first is used",
                "node a: spec.podCIDRs: `fd00::/640` is no subnet; one is written like 10.244.1.0/24",
                "node a: status.addresses: other nodes cannot reach `127.0.0.1`",
            ]
        );
    }

    #[test]
    fn a_node_without_a_uid_is_identified_by_its_name() {
        let fields = NodeFields { name: "a", ..NodeFields::default() };
        assert_eq!(fields.convert().node.uid, NodeUid("name:a".into()));
    }
}
