//! Services and their endpoints, as far as the node's network depends on them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::object_name::ObjectName;

/// A transport protocol of a Service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Which endpoints may receive traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// All endpoints of the cluster.
    #[default]
    Cluster,
    /// The endpoints on the node that the packet was sent from, or arrived at.
    Local,
}

/// A Service that this node serves: it has a cluster IP and is not assigned to another proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`. If two Services have the same address and port, the older
    /// Service gets them.
    pub created: Option<SystemTime>,
    /// `spec.clusterIPs`: at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// For how many seconds a client keeps its endpoint after its last new flow, with
    /// `spec.sessionAffinity: ClientIP`.
    pub affinity_seconds: Option<u32>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The name, by which slices refer to the port; empty if it has none.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// A part of the endpoints of a Service, all of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// The Service, by the label `kubernetes.io/service-name`.
    pub service: ObjectName,
    /// `ports`, without those that have no number.
    pub ports: Vec<SlicePort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
}

/// A port of the endpoints of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port; empty if it has none.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port number of the endpoints.
    pub port: u16,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses[0]`. Other entries have no meaning.
    pub ip: IpAddr,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `conditions.ready`; true if absent.
    pub ready: bool,
    /// `conditions.serving`; true if absent.
    pub serving: bool,
    /// `conditions.terminating`; false if absent.
    pub terminating: bool,
    /// `hints.forZones`.
    pub zone_hints: Vec<Arc<str>>,
    /// `hints.forNodes`.
    pub node_hints: Vec<Arc<str>>,
}
