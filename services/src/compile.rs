//! The frontends and backends of one Service, before they get ids and slots.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::endpoints::BackendSpec;
use super::index::{Resolved, ResolvedPort};
use super::tables::{FrontendKey, FrontendPolicy, Scope};
use weir_model::{Family, ObjectName, Protocol, Service, TrafficPolicy};

/// The properties of this node that the frontends of all Services depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeContext {
    /// Masquerade every flow to a cluster IP.
    pub masquerade_all: bool,
    /// The addresses of this node. A Service with such an address is not served here, because a
    /// local socket may be bound to it: a DNS cache on the node is reached by the address of the
    /// DNS Service.
    pub bound_addresses: BTreeSet<IpAddr>,
}

/// A Service, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// If two Services have the same frontend, the lower one gets it.
    pub precedence: Precedence,
    /// The ports, each once for each family.
    pub ports: Vec<CompiledPort>,
    /// Frontends that reject packets to other ports of the Service's addresses.
    pub unknown_port_guards: Vec<FrontendKey>,
}

/// The order in which Services may claim a frontend: the oldest Service first, and Services of
/// unknown age last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence(bool, Option<SystemTime>, ObjectName);

impl Precedence {
    fn of(service: &Service) -> Self {
        Self(service.created.is_none(), service.created, service.name.clone())
    }

    /// The name of the Service.
    pub const fn name(&self) -> &ObjectName {
        &self.2
    }
}

/// The identity of a port within its Service. A port keeps it when its number changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The name.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
}

/// A port in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledPort {
    /// The identity of the port.
    pub key: PortKey,
    /// The family.
    pub family: Family,
    /// All endpoints that have flows or may get new ones.
    pub backends: Vec<BackendSpec>,
    /// The frontends that lead to them.
    pub frontends: Vec<Plan>,
}

/// A desired frontend, without its id and slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How packets are recognized.
    pub key: FrontendKey,
    /// How packets are treated.
    pub policy: FrontendPolicy,
}

impl Compiled {
    /// The keys of all frontends.
    pub(crate) fn keys(&self) -> impl Iterator<Item = FrontendKey> {
        let ports = self.ports.iter().flat_map(|port| &port.frontends).map(|plan| plan.key);
        ports.chain(self.unknown_port_guards.iter().copied())
    }
}

impl CompiledPort {
    /// The endpoints of the local set, or of the cluster's set.
    pub fn set(&self, local: bool) -> impl Iterator<Item = &BackendSpec> {
        self.backends
            .iter()
            .filter(move |spec| if local { spec.in_local_set } else { spec.in_cluster_set })
    }
}

/// Compiles a Service.
pub fn compile(resolved: &Resolved, context: &NodeContext) -> Compiled {
    let Resolved { service, ports } = resolved;
    let served = |family: Option<Family>| {
        service.cluster_ips.iter().copied().filter(move |ip| {
            !context.bound_addresses.contains(ip)
                && family.is_none_or(|family| Family::of(*ip) == family)
        })
    };
    let ports =
        ports.iter().map(|port| compile_port(service, port, served(Some(port.family)), context));
    let guard = |ip| FrontendKey { ip, port: None, scope: Scope::Internal };
    Compiled {
        precedence: Precedence::of(service),
        ports: ports.collect(),
        unknown_port_guards: served(None).map(guard).collect(),
    }
}

fn compile_port(
    service: &Service,
    ResolvedPort { port, family, backends }: &ResolvedPort,
    cluster_ips: impl Iterator<Item = IpAddr>,
    context: &NodeContext,
) -> CompiledPort {
    let is_local = service.internal_policy == TrafficPolicy::Local;
    let served_anywhere = backends.iter().any(|spec| spec.in_cluster_set);
    let policy = FrontendPolicy {
        affinity: service.affinity_seconds.unwrap_or(0),
        drop_if_empty: is_local && served_anywhere,
        local_set: is_local,
        masquerade: context.masquerade_all,
    };
    let frontends = cluster_ips.map(|ip| Plan {
        key: FrontendKey { ip, port: Some((port.port, port.protocol)), scope: Scope::Internal },
        policy,
    });
    CompiledPort {
        key: PortKey { name: Arc::clone(&port.name), protocol: port.protocol },
        family: *family,
        frontends: frontends.collect(),
        backends: backends.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::index::tests::{Ep, ep, service, slice, snapshot};
    use weir_model::ServicePort;

    fn compiled(service: &Service, endpoints: &[Ep], context: &NodeContext) -> Compiled {
        let snapshot = snapshot(std::slice::from_ref(service), &[slice("s-1", "s", endpoints)]);
        let changes = Index::new("here").update(&snapshot);
        compile(changes[0].resolved.as_ref().unwrap(), context)
    }

    fn local(service: &Service) -> Service {
        Service { internal_policy: TrafficPolicy::Local, ..service.clone() }
    }

    #[test]
    fn a_cluster_ip_has_a_frontend_for_each_port_and_an_unknown_port_guard() {
        let mut service = service("s", 1);
        let port = |name: &str, protocol| ServicePort { name: name.into(), protocol, port: 53 };
        service.ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)];
        service.cluster_ips.push("fd00::1".parse().unwrap());
        let compiled = compiled(&service, &[], &NodeContext::default());
        let keys: Vec<String> = compiled
            .ports
            .iter()
            .flat_map(|port| &port.frontends)
            .map(|plan| plan.key.to_string())
            .collect();
        let wanted =
            ["10.96.0.1:53 UDP", "[fd00::1]:53 UDP", "10.96.0.1:53 TCP", "[fd00::1]:53 TCP"];
        assert_eq!(keys, wanted);
        let guards: Vec<String> =
            compiled.unknown_port_guards.iter().map(ToString::to_string).collect();
        assert_eq!(guards, ["10.96.0.1", "fd00::1"]);
    }

    #[test]
    fn the_internal_policy_chooses_the_set_and_drops_only_what_others_could_serve() {
        let (everywhere, context) = (service("s", 1), NodeContext::default());
        let plan = |service: &Service, endpoints: &[Ep]| {
            let compiled = compiled(service, endpoints, &context);
            let plan = compiled.ports[0].frontends[0];
            let policy = plan.policy;
            let size = compiled.ports[0].set(policy.local_set).count();
            (policy.local_set, policy.drop_if_empty, size)
        };
        let there = [ep(1).on("there")];
        assert_eq!(plan(&everywhere, &there), (false, false, 1));
        assert_eq!(plan(&local(&everywhere), &there), (true, true, 0));
        assert_eq!(plan(&local(&everywhere), &[]), (true, false, 0), "no endpoint serves: reject");
        let both = [ep(1).on("there"), ep(2).on("here")];
        assert_eq!(plan(&local(&everywhere), &both), (true, true, 1));
    }

    #[test]
    fn a_cluster_ip_that_is_an_address_of_the_node_gets_no_frontend() {
        let mut service = service("s", 1);
        service.cluster_ips.push("fd00::1".parse().unwrap());
        let bound_addresses = [IpAddr::from([10, 96, 0, 1])].into();
        let compiled =
            compiled(&service, &[], &NodeContext { bound_addresses, ..NodeContext::default() });
        let v4 = &compiled.ports[0];
        assert_eq!((v4.family, v4.frontends.len()), (Family::V4, 0));
        assert_eq!(compiled.unknown_port_guards.len(), 1);
    }

    #[test]
    fn session_affinity_and_masquerade_all_are_in_the_policy() {
        let service = Service { affinity_seconds: Some(30), ..service("s", 1) };
        let context = NodeContext { masquerade_all: true, ..NodeContext::default() };
        let policy = compiled(&service, &[], &context).ports[0].frontends[0].policy;
        assert_eq!((policy.affinity, policy.masquerade), (30, true));
    }

    #[test]
    fn the_oldest_service_takes_precedence_and_one_of_unknown_age_comes_last() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        let precedence =
            |name: &str, created| Precedence::of(&Service { created, ..service(name, 1) });
        let mut order = [
            precedence("a", None),
            precedence("b", at(2)),
            precedence("c", at(1)),
            precedence("d", at(1)),
        ];
        order.sort();
        let names: Vec<&str> = order.iter().map(|precedence| &*precedence.name().name).collect();
        assert_eq!(names, ["c", "d", "b", "a"]);
    }
}
