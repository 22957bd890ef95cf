//! The decoded part of a Kubernetes Service, and its conversion to the model's Service.

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::meta;
use crate::validation::{InvalidValue, Validation, ValidationError, is_unicast_target};
use crate::watched_resource::{WatchedResource, decoded_part_of};
use weir_model::{Family, Protocol, Service, ServicePort, TrafficPolicy};

/// How long a client keeps its endpoint if `timeoutSeconds` is not set.
const AFFINITY_SECONDS: u32 = 10_800;
const LONGEST_AFFINITY: u32 = 86_400;

/// The part of a Service that is decoded.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ServiceObject {
    #[serde(default, deserialize_with = "meta::deserialize")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<Spec>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ports: Option<Vec<Port>>,
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
    internal_traffic_policy: Option<String>,
    external_traffic_policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Port {
    name: Option<String>,
    protocol: Option<String>,
    port: i64,
}

#[derive(Debug, Clone, Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

impl WatchedResource for ServiceObject {
    type Model = Service;

    const NOUN: &'static str = "service";
    const SELECTOR: Option<&'static str> = Some(meta::SELECTOR);

    fn convert(&self) -> (Option<Service>, Vec<InvalidValue>) {
        let name = self.object_name();
        let Some(spec) = self.served() else { return (None, Vec::new()) };
        let mut validation = Validation::new(Self::NOUN, &name);
        let service = Service {
            name: name.clone(),
            created: self.metadata.creation_timestamp.as_ref().map(|time| time.0.into()),
            cluster_ips: spec.cluster_ips(&mut validation),
            ports: spec.ports(&mut validation),
            internal_policy: policy(
                spec.internal_traffic_policy.as_deref(),
                "spec.internalTrafficPolicy",
                &mut validation,
            ),
            external_policy: policy(
                spec.external_traffic_policy.as_deref(),
                "spec.externalTrafficPolicy",
                &mut validation,
            ),
            affinity_seconds: spec.affinity_seconds(&mut validation),
        };
        let invalid = validation.into_invalid();
        (Some(service), invalid)
    }
}

impl ServiceObject {
    /// The spec, unless another proxy serves the Service, or it is an alias or headless.
    fn served(&self) -> Option<&Spec> {
        let spec = self.spec.as_ref().filter(|_| !meta::is_ignored(&self.metadata))?;
        let first = spec.written_ips().next().unwrap_or_default();
        let is_alias = spec.kind.as_deref() == Some("ExternalName");
        (!is_alias && !first.is_empty() && first != "None").then_some(spec)
    }
}

impl Spec {
    /// `clusterIPs`, or where there is none the older field `clusterIP`.
    fn written_ips(&self) -> impl Iterator<Item = &str> {
        let several = self.cluster_ips.as_deref().unwrap_or_default();
        let single = self.cluster_ip.as_deref().filter(|_| several.is_empty());
        several.iter().map(String::as_str).chain(single)
    }

    fn cluster_ips(&self, validation: &mut Validation<'_>) -> Vec<IpAddr> {
        let mut chosen: Vec<IpAddr> = Vec::new();
        for text in self.written_ips() {
            let error = match text.parse::<IpAddr>() {
                Err(_) => ValidationError::NotAnAddress(text.to_owned()),
                Ok(ip) if !is_unicast_target(ip) => ValidationError::NotAServiceAddress(ip),
                Ok(ip) if chosen.iter().any(|other| Family::of(*other) == Family::of(ip)) => {
                    ValidationError::SecondAddressOfFamily(ip)
                }
                Ok(ip) => {
                    chosen.push(ip);
                    continue;
                }
            };
            validation.reject("spec.clusterIPs", error);
        }
        chosen
    }

    fn ports(&self, validation: &mut Validation<'_>) -> Vec<ServicePort> {
        let mut ports = Vec::new();
        for (number, port) in self.ports.iter().flatten().enumerate() {
            let of_port = |field: &str| format!("spec.ports[{number}].{field}");
            let protocol = protocol(port.protocol.as_deref());
            let valid = u16::try_from(port.port).ok().filter(|port| *port != 0);
            match (protocol, valid) {
                (Ok(protocol), Some(port_number)) => ports.push(ServicePort {
                    name: port.name.as_deref().unwrap_or_default().into(),
                    protocol,
                    port: port_number,
                }),
                (Err(error), _) => validation.reject(of_port("protocol"), error),
                (Ok(_), None) => {
                    validation.reject(of_port("port"), ValidationError::NotAPort(port.port));
                }
            }
        }
        ports
    }

    fn affinity_seconds(&self, validation: &mut Validation<'_>) -> Option<u32> {
        match self.session_affinity.as_deref() {
            Some("ClientIP") => {}
            None | Some("" | "None") => return None,
            Some(other) => {
                let error = not_one_of(other, "None or ClientIP");
                validation.reject("spec.sessionAffinity", error);
                return None;
            }
        }
        let config = self.session_affinity_config.as_ref();
        let Some(written) = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
        else {
            return Some(AFFINITY_SECONDS);
        };
        let seconds = u32::try_from(written).ok();
        if seconds.is_none_or(|seconds| !(1..=LONGEST_AFFINITY).contains(&seconds)) {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            validation.reject(field, ValidationError::TimeoutOutOfRange(written));
            return Some(AFFINITY_SECONDS);
        }
        seconds
    }
}

/// The protocol of a port; TCP if none is set.
pub(super) fn protocol(text: Option<&str>) -> Result<Protocol, ValidationError> {
    match text {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(not_one_of(other, "TCP, UDP or SCTP")),
    }
}

fn not_one_of(found: &str, expected: &'static str) -> ValidationError {
    ValidationError::NotOneOf { found: found.to_owned(), expected }
}

fn policy(text: Option<&str>, field: &str, validation: &mut Validation<'_>) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            validation.reject(field, not_one_of(other, "Cluster or Local"));
            TrafficPolicy::Cluster
        }
    }
}

decoded_part_of!(v1::Service, ServiceObject);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn convert(spec: &Value) -> (Option<Service>, Vec<String>) {
        let json = json!({"metadata": {"namespace": "ns", "name": "s"}, "spec": spec});
        let object: ServiceObject = serde_json::from_value(json).unwrap();
        let (service, invalid) = object.convert();
        (service, invalid.iter().map(ToString::to_string).collect())
    }

    fn good(spec: &Value) -> Service {
        let (service, invalid) = convert(spec);
        assert_eq!(invalid, [""; 0]);
        service.unwrap()
    }

    #[test]
    fn a_service_is_converted() {
        let service = good(&json!({
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10", "fd00:96::a"],
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [
                {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": "dns"},
                {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 5353},
            ],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 30}},
            "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Cluster",
        }));
        assert_eq!(service.name.to_string(), "ns/s");
        assert_eq!(service.cluster_ips.len(), 2);
        let ports: Vec<_> =
            service.ports.iter().map(|port| (&*port.name, port.protocol, port.port)).collect();
        assert_eq!(ports, [("dns", Protocol::Udp, 53), ("dns-tcp", Protocol::Tcp, 53)]);
        assert_eq!(service.affinity_seconds, Some(30));
        assert_eq!(service.internal_policy, TrafficPolicy::Local);
        assert_eq!(service.external_policy, TrafficPolicy::Cluster);
    }

    #[test]
    fn fields_that_are_not_set_have_the_api_servers_default() {
        let service = good(&json!({"clusterIP": "10.96.0.1", "ports": [{"port": 443}]}));
        assert_eq!(service.cluster_ips, ["10.96.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(service.ports[0].protocol, Protocol::Tcp);
        assert_eq!(&*service.ports[0].name, "");
        assert_eq!(service.affinity_seconds, None);
        assert_eq!(service.internal_policy, TrafficPolicy::Cluster);
        let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP"});
        assert_eq!(good(&spec).affinity_seconds, Some(10_800));
    }

    #[test]
    fn headless_services_and_external_names_are_ignored() {
        for spec in [
            json!({"clusterIP": "None"}),
            json!({"clusterIP": "None", "clusterIPs": ["None"]}),
            json!({"clusterIP": ""}),
            json!({"clusterIPs": []}),
            json!({"type": "ExternalName", "externalName": "example.org"}),
            // Its type was changed, and the address is still there.
            json!({"type": "ExternalName", "clusterIP": "10.96.0.1"}),
            Value::Null,
        ] {
            assert_eq!(convert(&spec), (None, vec![]), "{spec}");
        }
    }

    #[test]
    fn the_service_of_another_proxy_is_ignored() {
        let label = json!({"service.kubernetes.io/service-proxy-name": "other"});
        let json = json!({
            "metadata": {"name": "s", "labels": label},
            "spec": {"clusterIP": "10.96.0.1"},
        });
        let object: ServiceObject = serde_json::from_value(json).unwrap();
        assert_eq!(object.convert(), (None, vec![]));
    }

    #[test]
    fn invalid_values_are_reported_with_their_field_and_valid_ones_are_used() {
        let (service, invalid) = convert(&json!({
            "clusterIPs": ["10.96.0.1", "10.96.0.2", "here", "::1"],
            "ports": [
                {"port": 80, "protocol": "tcp"},
                {"port": 65536},
                {"port": 0},
                {"port": 81},
            ],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
            "internalTrafficPolicy": "Near",
        }));
        let service = service.unwrap();
        assert_eq!(service.cluster_ips.len(), 1);
        assert_eq!(service.ports.len(), 1);
        assert_eq!(
            invalid,
            [
                "service ns/s: spec.clusterIPs: `10.96.0.2` is a second address of the same family, \
                 and only the first is used",
                "service ns/s: spec.clusterIPs: `here` is not an IP address",
                "service ns/s: spec.clusterIPs: a Service cannot have the address `::1`",
                "service ns/s: spec.ports[0].protocol: must be TCP, UDP or SCTP, not `tcp`",
                "service ns/s: spec.ports[1].port: 65536 is not a port number",
                "service ns/s: spec.ports[2].port: 0 is not a port number",
                "service ns/s: spec.internalTrafficPolicy: must be Cluster or Local, not `Near`",
                "service ns/s: spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be \
                 between 1 and 86400 seconds, not 0",
            ]
        );
    }

    #[test]
    fn the_decoded_part_matches_the_full_object() {
        let full = v1::Service {
            metadata: ObjectMeta {
                name: Some("s".into()),
                namespace: Some("ns".into()),
                ..ObjectMeta::default()
            },
            spec: Some(v1::ServiceSpec {
                type_: Some("ClusterIP".into()),
                cluster_ip: Some("10.96.0.1".into()),
                cluster_ips: Some(vec!["10.96.0.1".into()]),
                ports: Some(vec![v1::ServicePort {
                    name: Some("a".into()),
                    protocol: Some("SCTP".into()),
                    port: 7,
                    ..v1::ServicePort::default()
                }]),
                session_affinity: Some("ClientIP".into()),
                session_affinity_config: Some(v1::SessionAffinityConfig {
                    client_ip: Some(v1::ClientIPConfig { timeout_seconds: Some(9) }),
                }),
                internal_traffic_policy: Some("Local".into()),
                external_traffic_policy: Some("Local".into()),
                ..v1::ServiceSpec::default()
            }),
            status: None,
        };
        let object: ServiceObject =
            serde_json::from_value(serde_json::to_value(full).unwrap()).unwrap();
        let service = object.convert().0.unwrap();
        assert_eq!(service.ports[0].protocol, Protocol::Sctp);
        assert_eq!(service.affinity_seconds, Some(9));
        assert_eq!(service.internal_policy, TrafficPolicy::Local);
        assert_eq!(service.external_policy, TrafficPolicy::Local);
    }
}
