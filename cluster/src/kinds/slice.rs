//! The decoded part of a Kubernetes EndpointSlice, and its conversion to the model's slice.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::service::protocol;
use crate::meta::{self, SERVICE_NAME_LABEL};
use crate::validation::{InvalidValue, Validation, ValidationError, is_unicast_target};
use crate::watched_resource::{WatchedResource, decoded_part_of};
use weir_model::{Endpoint, EndpointSlice, Family, ObjectName, SlicePort};

/// The part of an EndpointSlice that is decoded.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SliceObject {
    #[serde(default, deserialize_with = "meta::deserialize")]
    pub(crate) metadata: ObjectMeta,
    address_type: String,
    endpoints: Option<Vec<WireEndpoint>>,
    ports: Option<Vec<WirePort>>,
}

#[derive(Debug, Clone, Deserialize)]
struct WirePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEndpoint {
    addresses: Option<Vec<String>>,
    node_name: Option<String>,
    conditions: Option<Conditions>,
    hints: Option<Hints>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<Hint>>,
    for_nodes: Option<Vec<Hint>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Hint {
    name: String,
}

impl WatchedResource for SliceObject {
    type Model = EndpointSlice;

    const NOUN: &'static str = "endpoint slice";
    const SELECTOR: Option<&'static str> = Some(meta::SELECTOR);

    /// A port without a name gets the empty name.
    fn with_server_defaults(mut self) -> Self {
        for port in self.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
        }
        self
    }

    fn convert(&self) -> (Option<EndpointSlice>, Vec<InvalidValue>) {
        let name = self.object_name();
        let service = meta::label(&self.metadata, SERVICE_NAME_LABEL).unwrap_or_default();
        if service.is_empty() || meta::is_ignored(&self.metadata) {
            return (None, Vec::new());
        }
        let mut validation = Validation::new(Self::NOUN, &name);
        let family = match self.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            "FQDN" => return (None, Vec::new()),
            other => {
                let (found, expected) = (other.to_owned(), "IPv4, IPv6 or FQDN");
                validation.reject("addressType", ValidationError::NotOneOf { found, expected });
                return (None, validation.into_invalid());
            }
        };
        let ports = self.ports(&mut validation);
        let endpoints = self.endpoints(family, &mut validation);
        let invalid = validation.into_invalid();
        let service = ObjectName::new(Arc::clone(&name.namespace), service);
        (Some(EndpointSlice { name, service, ports, endpoints }), invalid)
    }
}

impl SliceObject {
    /// The ports that have a name and a number.
    fn ports(&self, validation: &mut Validation<'_>) -> Vec<SlicePort> {
        let mut ports = Vec::new();
        for (index, WirePort { name, protocol: written, port }) in
            self.ports.iter().flatten().enumerate()
        {
            let (Some(name), Some(number)) = (name, port.filter(|port| *port != 0)) else {
                continue;
            };
            match (protocol(written.as_deref()), u16::try_from(number)) {
                (Ok(protocol), Ok(port)) => {
                    ports.push(SlicePort { name: name.as_str().into(), protocol, port });
                }
                (Err(error), _) => validation.reject(format!("ports[{index}].protocol"), error),
                (_, Err(_)) => {
                    let error = ValidationError::NotAPort(number);
                    validation.reject(format!("ports[{index}].port"), error);
                }
            }
        }
        ports
    }

    fn endpoints(&self, family: Family, validation: &mut Validation<'_>) -> Vec<Endpoint> {
        let wire = self.endpoints.iter().flatten().enumerate();
        wire.filter_map(|(index, wire)| wire.convert(index, family, validation)).collect()
    }
}

impl WireEndpoint {
    fn convert(
        &self,
        index: usize,
        family: Family,
        validation: &mut Validation<'_>,
    ) -> Option<Endpoint> {
        let text = self.addresses.as_ref()?.first()?;
        let error = match text.parse::<IpAddr>() {
            Ok(ip) if Family::of(ip) != family => {
                let expected = if family == Family::V4 { "IPv4" } else { "IPv6" };
                ValidationError::OtherFamily { ip, expected }
            }
            Ok(ip) if !is_unicast_target(ip) => ValidationError::NotAnEndpointAddress(ip),
            Ok(ip) => return Some(self.at(ip)),
            Err(_) => ValidationError::NotAnAddress(text.clone()),
        };
        validation.reject(format!("endpoints[{index}].addresses[0]"), error);
        None
    }

    fn at(&self, ip: IpAddr) -> Endpoint {
        let Conditions { ready, serving, terminating } =
            self.conditions.clone().unwrap_or_default();
        let Hints { for_zones, for_nodes } = self.hints.clone().unwrap_or_default();
        let names = |hints: Option<Vec<Hint>>| {
            hints.into_iter().flatten().map(|hint| hint.name.into()).collect()
        };
        Endpoint {
            ip,
            node: self.node_name.as_deref().map(Into::into),
            ready: ready.unwrap_or(true),
            serving: serving.unwrap_or(true),
            terminating: terminating.unwrap_or(false),
            zone_hints: names(for_zones),
            node_hints: names(for_nodes),
        }
    }
}

decoded_part_of!(v1::EndpointSlice, SliceObject);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(rest: &Value) -> SliceObject {
        let labels = json!({SERVICE_NAME_LABEL: "s"});
        let mut json = json!({
            "metadata": {"namespace": "ns", "name": "s-1", "labels": labels},
            "addressType": "IPv4",
        });
        json.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    fn good(rest: &Value) -> EndpointSlice {
        let (slice, invalid) = object(rest).convert();
        assert_eq!(invalid, []);
        slice.unwrap()
    }

    #[test]
    fn a_slice_is_converted() {
        let slice = good(&json!({
            "ports": [{"name": "http", "protocol": "UDP", "port": 8080}],
            "endpoints": [{
                "addresses": ["10.244.1.2", "10.244.9.9"],
                "nodeName": "a",
                "conditions": {"ready": false, "serving": true, "terminating": true},
                "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "a"}]},
                "zone": "z",
                "targetRef": {"kind": "Pod", "name": "p"},
            }],
        }));
        assert_eq!(slice.service.to_string(), "ns/s");
        assert_eq!(slice.ports[0].port, 8080);
        let [endpoint] = &slice.endpoints[..] else { panic!("{slice:?}") };
        assert_eq!(endpoint.ip.to_string(), "10.244.1.2", "only the first address counts");
        assert_eq!(endpoint.node.as_deref(), Some("a"));
        assert!(!endpoint.ready && endpoint.serving && endpoint.terminating);
        assert_eq!((&*endpoint.zone_hints[0], &*endpoint.node_hints[0]), ("z", "a"));
    }

    #[test]
    fn conditions_that_are_not_set_are_good() {
        for conditions in [json!(null), json!({}), json!({"ready": null, "serving": null})] {
            let endpoint = json!({"addresses": ["10.244.1.2"], "conditions": conditions});
            let slice = good(&json!({"endpoints": [endpoint]}));
            let endpoint = &slice.endpoints[0];
            assert!(endpoint.ready && endpoint.serving && !endpoint.terminating);
        }
    }

    #[test]
    fn ports_without_a_name_or_a_number_are_left_out() {
        let rest = json!({"ports": [
            {"port": 1}, {"name": "b"}, {"name": "c", "port": 0}, {"name": "", "port": 4},
        ]});
        let ports = |slice: EndpointSlice| -> Vec<u16> {
            slice.ports.iter().map(|port| port.port).collect()
        };
        assert_eq!(ports(good(&rest)), [4]);
        let by_hand = object(&rest).with_server_defaults().convert().0.unwrap();
        assert_eq!(ports(by_hand), [1, 4], "the API server sets the empty name");
    }

    #[test]
    fn slices_of_domain_names_of_no_service_and_of_another_proxy_are_ignored() {
        assert_eq!(object(&json!({"addressType": "FQDN"})).convert(), (None, vec![]));
        let no_label = object(&json!({"metadata": {"name": "x"}}));
        assert_eq!(no_label.convert(), (None, vec![]));
        let labels = json!({
            SERVICE_NAME_LABEL: "s",
            "service.kubernetes.io/service-proxy-name": "other",
        });
        let other = object(&json!({"metadata": {"name": "x", "labels": labels}}));
        assert_eq!(other.convert(), (None, vec![]));
    }

    #[test]
    fn invalid_values_are_reported_with_their_field_and_valid_ones_are_used() {
        let (slice, invalid) = object(&json!({
            "ports": [{"name": "a", "port": 70000}, {"name": "b", "port": 1, "protocol": "X"}],
            "endpoints": [
                {"addresses": ["fd00::1"]},
                {"addresses": ["pod"]},
                {"addresses": []},
                {"addresses": ["127.0.0.1"]},
                {"addresses": ["10.244.1.2"]},
            ],
        }))
        .convert();
        assert_eq!(slice.unwrap().endpoints.len(), 1);
        let invalid: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        assert_eq!(
            invalid,
            [
                "endpoint slice ns/s-1: ports[0].port: 70000 is not a port number",
                "endpoint slice ns/s-1: ports[1].protocol: must be TCP, UDP or SCTP, not `X`",
                "endpoint slice ns/s-1: endpoints[0].addresses[0]: `fd00::1` does not match the \
                 slice's addressType IPv4",
                "endpoint slice ns/s-1: endpoints[1].addresses[0]: `pod` is not an IP address",
                "endpoint slice ns/s-1: endpoints[3].addresses[0]: an endpoint cannot have the \
                 address `127.0.0.1`",
            ]
        );
    }

    #[test]
    fn the_decoded_part_matches_the_full_object() {
        let full = v1::EndpointSlice {
            address_type: "IPv6".into(),
            metadata: ObjectMeta {
                name: Some("s-1".into()),
                labels: Some([(SERVICE_NAME_LABEL.to_owned(), "s".to_owned())].into()),
                ..ObjectMeta::default()
            },
            endpoints: Some(vec![v1::Endpoint {
                addresses: vec!["fd00::2".into()],
                node_name: Some("a".into()),
                conditions: Some(v1::EndpointConditions {
                    ready: Some(false),
                    serving: Some(false),
                    terminating: Some(true),
                }),
                hints: Some(v1::EndpointHints {
                    for_zones: Some(vec![v1::ForZone { name: "z".into() }]),
                    for_nodes: Some(vec![v1::ForNode { name: "a".into() }]),
                }),
                ..v1::Endpoint::default()
            }]),
            ports: Some(vec![v1::EndpointPort {
                name: Some("p".into()),
                port: Some(7),
                protocol: Some("SCTP".into()),
                ..v1::EndpointPort::default()
            }]),
        };
        let object: SliceObject =
            serde_json::from_value(serde_json::to_value(full).unwrap()).unwrap();
        let slice = object.convert().0.unwrap();
        let endpoint = &slice.endpoints[0];
        assert!(!endpoint.ready && !endpoint.serving && endpoint.terminating);
        assert_eq!((endpoint.zone_hints.len(), endpoint.node_hints.len()), (1, 1));
        assert_eq!(endpoint.node.as_deref(), Some("a"));
        assert_eq!(slice.ports[0].port, 7);
    }
}
