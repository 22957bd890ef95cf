//! What the operator's tool cannot read from the kernel: the names of Services and the agent's
//! concerns.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use weir_model::{ServicePort, Snapshot};

use crate::events::Concern;

/// A concern as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ConcernReport {
    /// The Event's reason.
    reason: &'static str,
    /// The problem and how to solve it.
    message: String,
}

impl fmt::Display for ConcernReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, message } = self;
        write!(f, "{reason}: {}", message.replace('\n', " "))
    }
}

/// The reports of all concerns.
pub(super) fn concerns(concerns: &BTreeSet<Concern>) -> Vec<ConcernReport> {
    let report = |concern: &Concern| ConcernReport {
        reason: concern.reason(),
        message: concern.to_string(),
    };
    concerns.iter().map(report).collect()
}

/// The name of a Service with its addresses and ports.
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

/// Every Service of the snapshot, sorted by name.
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
