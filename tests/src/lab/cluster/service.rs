//! A Service of Kubernetes with its endpoints, as far as the agent reads them.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// A Service with one port, over TCP and UDP, and slices with its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceManifest {
    name: String,
    cluster_ips: Vec<IpAddr>,
    port: u16,
    target_port: u16,
    spec: Vec<(String, Value)>,
    endpoints: Vec<(IpAddr, String)>,
}

impl ServiceManifest {
    /// A Service without endpoints, at these addresses, one of a family at most.
    #[must_use]
    pub fn new(name: &str, cluster_ips: &[IpAddr], port: u16, target_port: u16) -> Self {
        let name = name.to_owned();
        let cluster_ips = cluster_ips.to_vec();
        Self { name, cluster_ips, port, target_port, spec: Vec::new(), endpoints: Vec::new() }
    }

    /// With a field of the specification.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec.push((field.to_owned(), value));
        self
    }

    /// With an endpoint, ready, at these addresses of a pod on `node`.
    #[must_use]
    pub fn endpoint(mut self, ips: &[IpAddr], node: &str) -> Self {
        self.endpoints.extend(ips.iter().map(|ip| (*ip, node.to_owned())));
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

    /// Where clients find it.
    #[must_use]
    pub fn targets(&self) -> Vec<SocketAddr> {
        self.cluster_ips.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect()
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
        let Self { name, cluster_ips, port, target_port, spec, .. } = self;
        let one = |(name, protocol): (&str, &str)| json!({"name": name, "protocol": protocol, "port": port, "targetPort": target_port});
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "default", "name": name, "uid": format!("{name}-first"),
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": cluster_ips.first(),
                "clusterIPs": cluster_ips,
                "ports": PORTS.map(one),
            },
        });
        for (field, value) in spec {
            object["spec"][field] = value.clone();
        }
        object
    }

    fn slice(&self, kind: &str, ipv4: bool) -> Value {
        let Self { name, target_port, endpoints, .. } = self;
        let endpoints = endpoints.iter().filter(|(ip, _)| ip.is_ipv4() == ipv4);
        let endpoints: Vec<Value> = endpoints
            .map(|(ip, node)| {
                json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": true}})
            })
            .collect();
        let port = |(name, protocol): (&str, &str)| json!({"name": name, "protocol": protocol, "port": target_port});
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": "default", "name": format!("{name}-{}", kind.to_lowercase()),
                "uid": format!("{name}-{kind}"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": kind,
            "ports": PORTS.map(port),
            "endpoints": endpoints,
        })
    }
}

const PORTS: [(&str, &str); 2] = [("tcp", "TCP"), ("udp", "UDP")];
