//! One Service as frontends and backends, before they get ids and slots: a pure function of the
//! Service.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::endpoints::Target;
use super::index::{Resolved, ResolvedPort};
use super::tables::{FrontendKey, Scope};
use weir_model::{Family, ObjectName, Protocol, Service, TrafficPolicy};

/// What is the same for all Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Masquerade every flow to a cluster IP.
    pub masquerade_all: bool,
    /// Addresses of this node: what is bound to them locally comes before a Service on the same
    /// address, as a DNS cache of the node does.
    pub held: BTreeSet<IpAddr>,
}

/// A Service, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Of two Services with the same frontend, the lower one is right.
    pub rank: Rank,
    /// Its ports, each once for each family.
    pub ports: Vec<CompiledPort>,
    /// Frontends that refuse what is sent to another port of its addresses.
    pub rest: Vec<FrontendKey>,
}

/// The older Service comes first, and one of unknown age last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(bool, Option<SystemTime>, ObjectName);

impl Rank {
    fn of(service: &Service) -> Self {
        Self(service.created.is_none(), service.created, service.name.clone())
    }

    /// The name of the Service.
    pub const fn name(&self) -> &ObjectName {
        &self.2
    }
}

/// What tells the ports of a Service apart: a port keeps its identity when its number changes.
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
    /// Which port.
    pub key: PortKey,
    /// The family.
    pub family: Family,
    /// All endpoints that have flows or may get some.
    pub targets: Vec<Target>,
    /// What leads to them.
    pub frontends: Vec<Plan>,
}

/// A frontend that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What packets carry.
    pub key: FrontendKey,
    /// The set to choose from is that of this node's endpoints.
    pub local_set: bool,
    /// Without an endpoint, drop and do not reject.
    pub drop_if_empty: bool,
    /// Session affinity in seconds; 0 is none.
    pub affinity: u32,
    /// Masquerade every flow.
    pub masquerade: bool,
}

impl CompiledPort {
    /// The endpoints of one of the sets.
    pub fn set(&self, local: bool) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(
            move |target| {
                if local { target.in_local_set } else { target.in_cluster_set }
            },
        )
    }
}

/// Compiles a Service.
pub fn compile(resolved: &Resolved, terms: &Terms) -> Compiled {
    let Resolved { service, ports } = resolved;
    let served = |family: Option<Family>| {
        service.cluster_ips.iter().copied().filter(move |ip| {
            !terms.held.contains(ip) && family.is_none_or(|family| Family::of(*ip) == family)
        })
    };
    let ports =
        ports.iter().map(|port| compile_port(service, port, served(Some(port.family)), terms));
    let rest = served(None).map(|ip| FrontendKey { ip, port: None, scope: Scope::Internal });
    Compiled { rank: Rank::of(service), ports: ports.collect(), rest: rest.collect() }
}

fn compile_port(
    service: &Service,
    ResolvedPort { port, family, targets }: &ResolvedPort,
    cluster_ips: impl Iterator<Item = IpAddr>,
    terms: &Terms,
) -> CompiledPort {
    let is_local = service.internal_policy == TrafficPolicy::Local;
    let served_anywhere = targets.iter().any(|target| target.in_cluster_set);
    let frontends = cluster_ips.map(|ip| Plan {
        key: FrontendKey { ip, port: Some((port.port, port.protocol)), scope: Scope::Internal },
        local_set: is_local,
        drop_if_empty: is_local && served_anywhere,
        affinity: service.affinity_seconds.unwrap_or(0),
        masquerade: terms.masquerade_all,
    });
    CompiledPort {
        key: PortKey { name: Arc::clone(&port.name), protocol: port.protocol },
        family: *family,
        frontends: frontends.collect(),
        targets: targets.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::index::tests::{Ep, ep, service, slice, snapshot};
    use weir_model::ServicePort;

    fn compiled(service: &Service, endpoints: &[Ep], terms: &Terms) -> Compiled {
        let snapshot = snapshot(std::slice::from_ref(service), &[slice("s-1", "s", endpoints)]);
        let changes = Index::new("here").update(&snapshot);
        compile(changes[0].resolved.as_ref().unwrap(), terms)
    }

    fn local(service: &Service) -> Service {
        Service { internal_policy: TrafficPolicy::Local, ..service.clone() }
    }

    #[test]
    fn a_cluster_ip_has_a_frontend_for_each_port_and_one_that_refuses_the_rest() {
        let mut service = service("s", 1);
        let port = |name: &str, protocol| ServicePort { name: name.into(), protocol, port: 53 };
        service.ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)];
        service.cluster_ips.push("fd00::1".parse().unwrap());
        let compiled = compiled(&service, &[], &Terms::default());
        let keys: Vec<String> = compiled
            .ports
            .iter()
            .flat_map(|port| &port.frontends)
            .map(|plan| plan.key.to_string())
            .collect();
        let wanted =
            ["10.96.0.1:53 UDP", "[fd00::1]:53 UDP", "10.96.0.1:53 TCP", "[fd00::1]:53 TCP"];
        assert_eq!(keys, wanted);
        let rest: Vec<String> = compiled.rest.iter().map(ToString::to_string).collect();
        assert_eq!(rest, ["10.96.0.1", "fd00::1"]);
    }

    #[test]
    fn the_internal_policy_chooses_the_set_and_drops_only_what_others_could_serve() {
        let (everywhere, terms) = (service("s", 1), Terms::default());
        let plan = |service: &Service, endpoints: &[Ep]| {
            let compiled = compiled(service, endpoints, &terms);
            let plan = compiled.ports[0].frontends[0];
            (plan.local_set, plan.drop_if_empty, compiled.ports[0].set(plan.local_set).count())
        };
        let there = [ep(1).on("there")];
        assert_eq!(plan(&everywhere, &there), (false, false, 1));
        assert_eq!(plan(&local(&everywhere), &there), (true, true, 0));
        assert_eq!(plan(&local(&everywhere), &[]), (true, false, 0), "nobody serves: reject");
        let both = [ep(1).on("there"), ep(2).on("here")];
        assert_eq!(plan(&local(&everywhere), &both), (true, true, 1));
    }

    #[test]
    fn an_address_of_the_node_itself_gets_no_frontend() {
        let mut service = service("s", 1);
        service.cluster_ips.push("fd00::1".parse().unwrap());
        let held = [IpAddr::from([10, 96, 0, 1])].into();
        let compiled = compiled(&service, &[], &Terms { held, ..Terms::default() });
        let v4 = &compiled.ports[0];
        assert_eq!((v4.family, v4.frontends.len()), (Family::V4, 0));
        assert_eq!(compiled.rest.len(), 1);
    }

    #[test]
    fn affinity_and_masquerading_are_carried() {
        let service = Service { affinity_seconds: Some(30), ..service("s", 1) };
        let terms = Terms { masquerade_all: true, ..Terms::default() };
        let plan = compiled(&service, &[], &terms).ports[0].frontends[0];
        assert_eq!((plan.affinity, plan.masquerade), (30, true));
    }

    #[test]
    fn the_older_service_ranks_first_and_one_of_unknown_age_last() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        let rank = |name: &str, created| Rank::of(&Service { created, ..service(name, 1) });
        let mut ranks = [rank("a", None), rank("b", at(2)), rank("c", at(1)), rank("d", at(1))];
        ranks.sort();
        let names: Vec<&str> = ranks.iter().map(|rank| &*rank.name().name).collect();
        assert_eq!(names, ["c", "d", "b", "a"]);
    }
}
