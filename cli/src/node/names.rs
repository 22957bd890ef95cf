//! Names of Services. The maps have only addresses, so the agent is asked for names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::agent;
use crate::protocol::Protocol;

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Name {
    /// The Service's namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// The port's name, empty if it has none.
    pub(crate) port_name: String,
}

impl Name {
    /// Whether it is `namespace/name`.
    pub(crate) fn is(&self, namespaced: &str) -> bool {
        namespaced.split_once('/') == Some((&self.namespace, &self.name))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.port_name.is_empty() { Ok(()) } else { write!(f, ":{}", self.port_name) }
    }
}

/// Names by address, port and protocol.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Whether the agent has responded.
    pub(crate) are_known: bool,
    by_frontend: HashMap<(IpAddr, u16, Protocol), Name>,
}

/// A Service in the response of the agent.
#[derive(Debug, Deserialize)]
struct Service {
    namespace: String,
    name: String,
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
struct Port {
    name: String,
    protocol: String,
    port: u16,
}

impl Names {
    /// Asks the agent for names. Empty if it does not respond.
    pub(crate) async fn fetch(address: SocketAddr) -> Self {
        match agent::get(address, "/services").await {
            Ok(response) if response.is_ok => Self::read(&response.body),
            _ => Self::default(),
        }
    }

    fn read(body: &str) -> Self {
        let Ok(services) = serde_json::from_str::<Vec<Service>>(body) else {
            return Self::default();
        };
        let mut by_frontend = HashMap::new();
        for Service { namespace, name, addresses, ports } in services {
            for Port { name: port_name, protocol, port } in ports {
                let Ok(protocol) = protocol.parse() else { continue };
                let name = Name { namespace: namespace.clone(), name: name.clone(), port_name };
                for address in &addresses {
                    by_frontend.insert((*address, port, protocol), name.clone());
                }
            }
        }
        Self { are_known: true, by_frontend }
    }

    /// The name of a frontend.
    pub(crate) fn of(&self, address: IpAddr, port: u16, protocol: Protocol) -> Option<&Name> {
        self.by_frontend.get(&(address, port, protocol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_each_address_and_port_of_its_service() {
        let names = Names::read(
            r#"[{"namespace":"kube-system","name":"dns","addresses":["10.96.0.10","fd96::a"],
                 "ports":[{"name":"dns","protocol":"UDP","port":53},{"name":"","protocol":"TCP","port":9153}]}]"#,
        );
        let of = |address: &str, port, protocol| {
            names.of(address.parse().unwrap(), port, protocol).map(ToString::to_string)
        };
        assert_eq!(of("fd96::a", 53, Protocol::UDP).as_deref(), Some("kube-system/dns:dns"));
        assert_eq!(of("10.96.0.10", 9153, Protocol::TCP).as_deref(), Some("kube-system/dns"));
        assert_eq!(of("10.96.0.10", 53, Protocol::TCP), None);
        assert!(!Names::read("404").are_known);
    }
}
