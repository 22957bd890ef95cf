//! A Kubernetes Service and its EndpointSlices, with the fields that the agent reads.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// A Service, and the EndpointSlices with its endpoints. It has one port number, for TCP and for UDP,
/// unless a test changes that.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceManifest {
    name: String,
    uid: String,
    cluster_ips: Vec<IpAddr>,
    ports: Vec<Port>,
    spec: Vec<(String, Value)>,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq)]
struct Port {
    name: String,
    protocol: String,
    number: u16,
    target: u16,
}

#[derive(Clone, Debug, PartialEq)]
struct Endpoint {
    ip: IpAddr,
    node: String,
    fields: Value,
}

impl ServiceManifest {
    /// A Service without endpoints, with at most one cluster IP of each family.
    #[must_use]
    pub fn new(name: &str, cluster_ips: &[IpAddr], port: u16, target_port: u16) -> Self {
        let service = Self {
            name: name.to_owned(),
            uid: format!("{name}-first"),
            cluster_ips: cluster_ips.to_vec(),
            ports: Vec::new(),
            spec: Vec::new(),
            endpoints: Vec::new(),
        };
        service.port("tcp", "TCP", port, target_port).port("udp", "UDP", port, target_port)
    }

    /// With another port.
    #[must_use]
    pub fn port(mut self, name: &str, protocol: &str, number: u16, target: u16) -> Self {
        let (name, protocol) = (name.to_owned(), protocol.to_owned());
        self.ports.push(Port { name, protocol, number, target });
        self
    }

    /// Without the port of this name.
    #[must_use]
    pub fn without_port(mut self, name: &str) -> Self {
        self.ports.retain(|port| port.name != name);
        self
    }

    /// With this `metadata.uid`.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        uid.clone_into(&mut self.uid);
        self
    }

    /// With this field of `spec`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec.push((field.to_owned(), value));
        self
    }

    /// With a ready endpoint at these addresses of a pod on `node`.
    #[must_use]
    pub fn endpoint(self, ips: &[IpAddr], node: &str) -> Self {
        self.endpoint_with(ips, node, &json!({"conditions": {"ready": true}}))
    }

    /// With an endpoint that has these further fields in its slice: `conditions`, `hints`.
    #[must_use]
    pub fn endpoint_with(mut self, ips: &[IpAddr], node: &str, fields: &Value) -> Self {
        let one = |ip: &IpAddr| Endpoint { ip: *ip, node: node.to_owned(), fields: fields.clone() };
        self.endpoints.extend(ips.iter().map(one));
        self
    }

    /// Without any endpoint.
    #[must_use]
    pub fn without_endpoints(mut self) -> Self {
        self.endpoints.clear();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The frontends of its first port: each cluster IP with the port's number.
    #[must_use]
    pub fn frontends(&self) -> Vec<SocketAddr> {
        let port = self.ports.first().map_or(0, |port| port.number);
        self.cluster_ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// The objects as YAML (which JSON is).
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut yaml = self.service().to_string();
        for (kind, ipv4) in [("IPv4", true), ("IPv6", false)] {
            if self.cluster_ips.iter().any(|ip| ip.is_ipv4() == ipv4) {
                yaml += &format!("\n---\n{}", self.slice(kind, ipv4));
            }
        }
        yaml
    }

    fn service(&self) -> Value {
        let Self { name, uid, cluster_ips, ports, spec, endpoints: _ } = self;
        let one = |Port { name, protocol, number, target }: &Port| json!({"name": name, "protocol": protocol, "port": number, "targetPort": target});
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "default", "name": name, "uid": uid,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": cluster_ips.first(),
                "clusterIPs": cluster_ips,
                "ports": ports.iter().map(one).collect::<Vec<_>>(),
            },
        });
        for (field, value) in spec {
            object["spec"][field] = value.clone();
        }
        object
    }

    fn slice(&self, kind: &str, ipv4: bool) -> Value {
        let Self { name, ports, endpoints, .. } = self;
        let endpoints = endpoints.iter().filter(|endpoint| endpoint.ip.is_ipv4() == ipv4);
        let endpoints: Vec<Value> = endpoints.map(Endpoint::object).collect();
        let port = |Port { name, protocol, target, .. }: &Port| json!({"name": name, "protocol": protocol, "port": target});
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": "default", "name": format!("{name}-{}", kind.to_lowercase()),
                "uid": format!("{name}-{kind}"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": kind,
            "ports": ports.iter().map(port).collect::<Vec<_>>(),
            "endpoints": endpoints,
        })
    }
}

impl Endpoint {
    fn object(&self) -> Value {
        let Self { ip, node, fields } = self;
        let mut object = json!({"addresses": [ip], "nodeName": node});
        for (field, value) in fields.as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        object
    }
}
