//! Services as Kubernetes has them: the one that is measured, and others around it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

/// The measured Service's port, and that of all pods.
pub(crate) const PORT: u16 = 80;
pub(crate) const TARGET_PORT: u16 = 8080;

/// A Service with one port, and one slice with its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Addresses and the nodes that they are on.
    pub(crate) endpoints: Vec<(IpAddr, String)>,
}

impl Service {
    /// The one that is measured, with one endpoint.
    pub(crate) fn measured(server: IpAddr) -> Self {
        let address = Ipv4Addr::new(10, 96, 1, 1);
        let endpoints = vec![(server, "node1".to_owned())];
        Self { name: "measured".to_owned(), address, endpoints }
    }

    /// One of up to 60,000 others, with so many endpoints, which exist on paper only.
    pub(crate) fn other(number: u32, endpoints: u32) -> Self {
        let [_, high, middle, low] = (number + 512).to_be_bytes();
        let endpoint = |index: u32| {
            let [_, b, c, d] = (number * endpoints + index).to_be_bytes();
            // Far more pods than any cluster's network of the lab has room for.
            (Ipv4Addr::new(100 + b, c, d / 2 * 2, 1 + d % 2).into(), "elsewhere".to_owned())
        };
        Self {
            name: format!("other-{number}"),
            address: Ipv4Addr::new(10, 96 + high, middle, low),
            endpoints: (0..endpoints).map(endpoint).collect(),
        }
    }

    /// Where clients find it.
    pub(crate) fn target(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), PORT)
    }

    /// The Service's object.
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

    /// The object with its endpoints.
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

    /// Both as YAML (which JSON is).
    pub(crate) fn yaml(&self) -> String {
        format!("{}\n---\n{}\n", self.service(), self.slice())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_an_address_and_no_two_endpoints_either() {
        let mut services: Vec<_> = (0..50_000).map(|number| Service::other(number, 2)).collect();
        services.push(Service::measured(IpAddr::from([10, 244, 1, 2])));
        let addresses: BTreeSet<_> = services.iter().map(|service| service.address).collect();
        let endpoints: BTreeSet<_> = services.iter().flat_map(|one| &one.endpoints).collect();
        assert_eq!((addresses.len(), endpoints.len()), (50_001, 100_001));
    }

    #[test]
    fn all_services_are_in_one_network_of_16_bits() {
        for number in [0, 49_999] {
            let [a, b, ..] = Service::other(number, 1).address.octets();
            assert_eq!((a, b), (10, 96), "{number}");
        }
    }
}
