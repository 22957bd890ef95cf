//! What the agent knows and the kernel does not: names of Services, and what concerns it. The
//! operator's tool asks for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::events::Concern;
use weir_model::{ServicePort, Snapshot};

/// Something for the operator to act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Worry {
    /// The Event's reason.
    reason: &'static str,
    /// What is wrong, and what to do.
    message: String,
}

/// What is told of concerns.
pub(super) fn worries(concerns: &BTreeSet<Concern>) -> Vec<Worry> {
    let worry =
        |concern: &Concern| Worry { reason: concern.reason(), message: concern.to_string() };
    concerns.iter().map(worry).collect()
}

/// The name of a Service, and where clients find it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Service<'a> {
    namespace: &'a str,
    name: &'a str,
    addresses: &'a [IpAddr],
    ports: Vec<Port<'a>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Port<'a> {
    name: &'a str,
    protocol: String,
    port: u16,
}

/// Every Service of the snapshot, by name.
pub(super) fn services(snapshot: &Snapshot) -> Vec<Service<'_>> {
    let mut services: Vec<_> = snapshot
        .services
        .iter()
        .map(|(name, service)| Service {
            namespace: &name.namespace,
            name: &name.name,
            addresses: &service.cluster_ips,
            ports: service.ports.iter().map(Port::of).collect(),
        })
        .collect();
    services.sort();
    services
}

impl<'a> Port<'a> {
    fn of(port: &'a ServicePort) -> Self {
        Self { name: &port.name, protocol: port.protocol.to_string(), port: port.port }
    }
}
