//! A Kubernetes EndpointSlice: the part of it that is decoded, and the model's slice that it stands
//! for.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::meta::{self, SERVICE_NAME_LABEL};
use super::service::protocol;
use super::wrong::{Fault, Report, WrongValue};
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

impl SliceObject {
    /// Gives what was written by hand the defaults that the API server would: a port that is not
    /// named has the empty name.
    pub(crate) fn with_server_defaults(mut self) -> Self {
        for port in self.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
        }
        self
    }

    /// The slice, or none if it is not for us; and the values that had to be left out.
    pub(crate) fn convert(&self) -> (Option<EndpointSlice>, Vec<WrongValue>) {
        let name = meta::object_name(&self.metadata);
        let service = meta::label(&self.metadata, SERVICE_NAME_LABEL).unwrap_or_default();
        if service.is_empty() || meta::is_left_alone(&self.metadata) {
            return (None, Vec::new());
        }
        let mut report = Report::new("endpoint slice", &name);
        let family = match self.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            "FQDN" => return (None, Vec::new()),
            other => {
                let known = "IPv4, IPv6, FQDN";
                report.add("addressType", Fault::Unknown { found: other.to_owned(), known });
                return (None, report.into_wrong());
            }
        };
        let ports = self.ports(&mut report);
        let endpoints = self.endpoints(family, &mut report);
        let wrong = report.into_wrong();
        let service = ObjectName::new(Arc::clone(&name.namespace), service);
        (Some(EndpointSlice { name, service, ports, endpoints }), wrong)
    }

    /// Ports that stand for a number and can be referred to.
    fn ports(&self, report: &mut Report<'_>) -> Vec<SlicePort> {
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
                (Err(fault), _) => report.add(format!("ports[{index}].protocol"), fault),
                (_, Err(_)) => {
                    report.add(format!("ports[{index}].port"), Fault::NoPort(number));
                }
            }
        }
        ports
    }

    fn endpoints(&self, family: Family, report: &mut Report<'_>) -> Vec<Endpoint> {
        let wire = self.endpoints.iter().flatten().enumerate();
        wire.filter_map(|(index, wire)| wire.convert(index, family, report)).collect()
    }
}

impl WireEndpoint {
    fn convert(&self, index: usize, family: Family, report: &mut Report<'_>) -> Option<Endpoint> {
        let text = self.addresses.as_ref()?.first()?;
        let fault = match text.parse::<IpAddr>() {
            Ok(ip) if Family::of(ip) != family => {
                let wanted = if family == Family::V4 { "IPv4" } else { "IPv6" };
                Fault::OtherFamily { ip, wanted }
            }
            Ok(ip) if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() => {
                Fault::Unreachable(ip)
            }
            Ok(ip) => return Some(self.at(ip)),
            Err(_) => Fault::NoAddress(text.clone()),
        };
        report.add(format!("endpoints[{index}].addresses[0]"), fault);
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

impl k8s_openapi::Resource for SliceObject {
    const API_VERSION: &'static str = "discovery.k8s.io/v1";
    const GROUP: &'static str = "discovery.k8s.io";
    const KIND: &'static str = "EndpointSlice";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "endpointslices";
    type Scope = NamespaceResourceScope;
}

impl k8s_openapi::Metadata for SliceObject {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

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
        let (slice, wrong) = object(rest).convert();
        assert_eq!(wrong, []);
        slice.unwrap()
    }

    #[test]
    fn a_slice_has_what_its_object_says() {
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
    fn conditions_that_are_not_known_are_good() {
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
        assert_eq!(ports(by_hand), [1, 4], "the API server names what is not named");
    }

    #[test]
    fn slices_of_domain_names_of_no_service_and_of_another_proxy_are_not_for_us() {
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
    fn wrong_values_are_named_with_their_field_and_the_right_ones_stay() {
        let (slice, wrong) = object(&json!({
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
        let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(
            wrong,
            [
                "endpoint slice ns/s-1: ports[0].port: 70000 is no port number",
                "endpoint slice ns/s-1: ports[1].protocol: `X` is none of TCP, UDP, SCTP",
                "endpoint slice ns/s-1: endpoints[0].addresses[0]: `fd00::1` is not of the slice's \
                 addressType IPv4",
                "endpoint slice ns/s-1: endpoints[1].addresses[0]: `pod` is no IP address",
                "endpoint slice ns/s-1: endpoints[3].addresses[0]: `127.0.0.1` is no address that \
                 an endpoint can have",
            ]
        );
    }

    #[test]
    fn the_part_that_is_decoded_fits_the_full_object() {
        use k8s_openapi::api::discovery::v1;

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
