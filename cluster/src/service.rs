//! A Kubernetes Service: the part of it that is decoded, and the model's Service that it stands for.
//!
//! Both sources decode the same part, so that both understand a Service alike.

use std::net::IpAddr;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::meta;
use super::wrong::{Fault, Report, WrongValue};
use weir_model::{Family, Protocol, Service, ServicePort, TrafficPolicy};

/// For how long a client keeps its endpoint if `timeoutSeconds` does not say it.
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

impl ServiceObject {
    /// The Service, or none if it is not for us; and the values that had to be left out.
    pub(crate) fn convert(&self) -> (Option<Service>, Vec<WrongValue>) {
        let name = meta::object_name(&self.metadata);
        let Some(spec) = self.served() else { return (None, Vec::new()) };
        let mut report = Report::new("service", &name);
        let service = Service {
            name: name.clone(),
            created: self.metadata.creation_timestamp.as_ref().map(|time| time.0.into()),
            cluster_ips: spec.cluster_ips(&mut report),
            ports: spec.ports(&mut report),
            internal_policy: policy(
                spec.internal_traffic_policy.as_deref(),
                "spec.internalTrafficPolicy",
                &mut report,
            ),
            external_policy: policy(
                spec.external_traffic_policy.as_deref(),
                "spec.externalTrafficPolicy",
                &mut report,
            ),
            affinity_seconds: spec.affinity_seconds(&mut report),
        };
        let wrong = report.into_wrong();
        (Some(service), wrong)
    }

    /// What is to be served: not an alias of another name, and not a headless Service.
    fn served(&self) -> Option<&Spec> {
        let spec = self.spec.as_ref().filter(|_| !meta::is_left_alone(&self.metadata))?;
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

    fn cluster_ips(&self, report: &mut Report<'_>) -> Vec<IpAddr> {
        let mut chosen: Vec<IpAddr> = Vec::new();
        for text in self.written_ips() {
            let fault = match text.parse::<IpAddr>() {
                Err(_) => Fault::NoAddress(text.to_owned()),
                Ok(ip) if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() => {
                    Fault::Unservable(ip)
                }
                Ok(ip) if chosen.iter().any(|other| Family::of(*other) == Family::of(ip)) => {
                    Fault::SecondOfFamily(ip)
                }
                Ok(ip) => {
                    chosen.push(ip);
                    continue;
                }
            };
            report.add("spec.clusterIPs", fault);
        }
        chosen
    }

    fn ports(&self, report: &mut Report<'_>) -> Vec<ServicePort> {
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
                (Err(fault), _) => report.add(of_port("protocol"), fault),
                (Ok(_), None) => report.add(of_port("port"), Fault::NoPort(port.port)),
            }
        }
        ports
    }

    fn affinity_seconds(&self, report: &mut Report<'_>) -> Option<u32> {
        match self.session_affinity.as_deref() {
            Some("ClientIP") => {}
            None | Some("" | "None") => return None,
            Some(other) => {
                let fault = Fault::Unknown { found: other.to_owned(), known: "None, ClientIP" };
                report.add("spec.sessionAffinity", fault);
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
            report.add(field, Fault::NoTimeout(written));
            return Some(AFFINITY_SECONDS);
        }
        seconds
    }
}

/// A protocol as it is written; TCP if it is not.
pub(crate) fn protocol(text: Option<&str>) -> Result<Protocol, Fault> {
    match text {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(Fault::Unknown { found: other.to_owned(), known: "TCP, UDP, SCTP" }),
    }
}

fn policy(text: Option<&str>, field: &str, report: &mut Report<'_>) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            let fault = Fault::Unknown { found: other.to_owned(), known: "Cluster, Local" };
            report.add(field, fault);
            TrafficPolicy::Cluster
        }
    }
}

impl k8s_openapi::Resource for ServiceObject {
    const API_VERSION: &'static str = "v1";
    const GROUP: &'static str = "";
    const KIND: &'static str = "Service";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "services";
    type Scope = NamespaceResourceScope;
}

impl k8s_openapi::Metadata for ServiceObject {
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

    fn convert(spec: &Value) -> (Option<Service>, Vec<String>) {
        let json = json!({"metadata": {"namespace": "ns", "name": "s"}, "spec": spec});
        let object: ServiceObject = serde_json::from_value(json).unwrap();
        let (service, wrong) = object.convert();
        (service, wrong.iter().map(ToString::to_string).collect())
    }

    fn good(spec: &Value) -> Service {
        let (service, wrong) = convert(spec);
        assert_eq!(wrong, [""; 0]);
        service.unwrap()
    }

    #[test]
    fn a_service_has_what_its_object_says() {
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
    fn what_is_not_said_has_the_api_servers_default() {
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
    fn headless_services_and_external_names_are_not_for_us() {
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
    fn the_service_of_another_proxy_is_not_for_us() {
        let label = json!({"service.kubernetes.io/service-proxy-name": "other"});
        let json = json!({
            "metadata": {"name": "s", "labels": label},
            "spec": {"clusterIP": "10.96.0.1"},
        });
        let object: ServiceObject = serde_json::from_value(json).unwrap();
        assert_eq!(object.convert(), (None, vec![]));
    }

    #[test]
    fn wrong_values_are_named_with_their_field_and_the_right_ones_stay() {
        let (service, wrong) = convert(&json!({
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
            wrong,
            [
                "service ns/s: spec.clusterIPs: `10.96.0.2` is a second address of the same family, \
                 and only the first is used",
                "service ns/s: spec.clusterIPs: `here` is no IP address",
                "service ns/s: spec.clusterIPs: `::1` is no address that a Service can have",
                "service ns/s: spec.ports[0].protocol: `tcp` is none of TCP, UDP, SCTP",
                "service ns/s: spec.ports[1].port: 65536 is no port number",
                "service ns/s: spec.ports[2].port: 0 is no port number",
                "service ns/s: spec.internalTrafficPolicy: `Near` is none of Cluster, Local",
                "service ns/s: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is no number \
                 of seconds between 1 and 86400",
            ]
        );
    }

    #[test]
    fn the_part_that_is_decoded_fits_the_full_object() {
        use k8s_openapi::api::core::v1;

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
