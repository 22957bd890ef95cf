//! Service and EndpointSlice objects: of the measured Service and of the others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

/// The port of all Services.
pub(crate) const PORT: u16 = 80;
/// The port of all endpoints.
pub(crate) const TARGET_PORT: u16 = 8080;

/// A Service with one port and one EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// The endpoints' addresses and nodes.
    pub(crate) endpoints: Vec<(IpAddr, String)>,
}

impl Service {
    /// The measured Service, with one endpoint.
    pub(crate) fn measured(server: IpAddr) -> Self {
        let address = Ipv4Addr::new(10, 96, 1, 1);
        let endpoints = vec![(server, "node1".to_owned())];
        Self { name: "measured".to_owned(), address, endpoints }
    }

    /// One of up to 60,000 other Services, with a number of endpoints that do not exist.
    pub(crate) fn other(number: u32, endpoints: u32) -> Self {
        let [_, high, middle, low] = (number + 512).to_be_bytes();
        let endpoint = |index: u32| {
            let [_, b, c, d] = (number * endpoints + index).to_be_bytes();
            // A range of its own: the pod network of the lab's clusters is too small.
            (Ipv4Addr::new(100 + b, c, d / 2 * 2, 1 + d % 2).into(), "elsewhere".to_owned())
        };
        Self {
            name: format!("other-{number}"),
            address: Ipv4Addr::new(10, 96 + high, middle, low),
            endpoints: (0..endpoints).map(endpoint).collect(),
        }
    }

    /// The address and port that clients connect to.
    pub(crate) fn target(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), PORT)
    }

    /// The Service object.
    pub(crate) fn service(&self) -> Value {
        let Self { name, address, .. } = self;
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}"),
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": address,
                "clusterIPs": [address],
                "ports": [{"name": "main", "protocol": "TCP", "port": PORT,
                    "targetPort": TARGET_PORT}],
            },
        })
    }

    /// The EndpointSlice object.
    pub(crate) fn slice(&self) -> Value {
        let Self { name, endpoints, .. } = self;
        let endpoint = |(address, node): &(IpAddr, String)| json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}});
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": "default", "name": format!("{name}-1"),
                "uid": format!("uid-{name}-1"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "main", "protocol": "TCP", "port": TARGET_PORT}],
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        })
    }

    /// Both objects as YAML documents. JSON is YAML.
    pub(crate) fn yaml(&self) -> String {
        format!("{}\n---\n{}\n", self.service(), self.slice())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn services_and_endpoints_have_different_addresses() {
        let mut services: Vec<_> = (0..50_000).map(|number| Service::other(number, 2)).collect();
        services.push(Service::measured(IpAddr::from([10, 244, 1, 2])));
        let addresses: BTreeSet<_> = services.iter().map(|service| service.address).collect();
        let endpoints: BTreeSet<_> = services.iter().flat_map(|one| &one.endpoints).collect();
        assert_eq!((addresses.len(), endpoints.len()), (50_001, 100_001));
    }

    #[test]
    fn cluster_ips_are_in_one_range_of_16_bits() {
        for number in [0, 49_999] {
            let [a, b, ..] = Service::other(number, 1).address.octets();
            assert_eq!((a, b), (10, 96), "{number}");
        }
    }
}
