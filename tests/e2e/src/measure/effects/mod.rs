//! The delay from a write to the API server to its effect on a pod's connections.
//!
//! A client in a pod's network namespace connects repeatedly until the expected server replies.
//! Times begin before the request to the API server is sent, and thus include the API server's
//! share, with kube-proxy as with Weir.

mod api;
mod probe;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;

use crate::console::step;
use crate::environment::Environment;
use crate::kubectl::{Kubectl, admin_config};
use crate::pods::{NAMESPACE, Pods};
use crate::spec::Family;
use crate::state::State;
use api::{Api, Service};
use probe::Probe;

/// Two pods that reply with their names, one on each node.
const SERVERS: [&str; 2] = ["server-a", "server-b"];
const CLIENT: &str = "client";
/// For the effect of a write.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The delays with a number of Services, in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Effects {
    pub(super) services: u32,
    /// From the write of a Service and its endpoint to a pod's first connection.
    pub(super) created: Vec<f64>,
    /// From the write of another endpoint to a pod's first connection to it.
    pub(super) moved: Vec<f64>,
}

/// Measures with each number of Services, which includes the measured Service.
///
/// # Errors
/// When the cluster does not do what is measured.
pub(super) fn measure(
    environment: &Environment,
    state: &State,
    services: &[u32],
    changes: u32,
) -> Result<Vec<Effects>> {
    let family = state.spec.ip_family;
    let pods = Pods::new(Kubectl::new(environment, state)?, state)?;
    let nodes = (state.nodes.first(), state.nodes.last());
    let (first, last) = nodes.0.zip(nodes.1).context("no nodes")?;
    let command = probe::idle_command();
    pods.create(CLIENT, first.name(), &command)?;
    for (server, node) in SERVERS.iter().zip([first, last]) {
        pods.create_server(server, node.name())?;
    }
    pods.ready(CLIENT)?;
    let ready = SERVERS.map(|server| -> Result<IpAddr> { Ok(pods.ready(server)?.parse()?) });
    let [a, b] = ready;
    let servers = [a?, b?];
    let client = probe::namespace_of(&command)?;
    let hub = format!("/proc/{}/ns/net", state.hub()?.machine.anchor.pid);
    let hub = File::open(&hub).with_context(|| format!("open {hub}"))?;
    let config = admin_config(environment.state()?);

    let effects = thread::scope(|scope| {
        let (probe_sender, probes) = mpsc::channel();
        let (result_sender, results) = mpsc::channel();
        scope.spawn(move || probe::run_probes(&client, &probes, &result_sender));
        let measuring = scope.spawn(move || -> Result<Vec<Effects>> {
            // Only this thread enters the namespace, and it ends there.
            move_into_link_name_space(hub.as_fd(), Some(LinkNameSpaceType::Network))
                .context("enter the network namespace of the hub")?;
            let api = Api::connect(&config, NAMESPACE)?;
            let fixture = Fixture { api, probes: probe_sender, results, servers, family };
            let mut sorted = services.to_vec();
            sorted.sort_unstable();
            let effects: Result<Vec<_>> =
                sorted.iter().map(|services| fixture.measure(*services, changes)).collect();
            step("delete the Services", || fixture.api.clear())?;
            effects
        });
        measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    step("delete the pods", || pods.clear())?;
    Ok(effects)
}

/// The client, the servers and the API server.
struct Fixture {
    api: Api,
    probes: Sender<Probe>,
    results: Receiver<Result<Instant>>,
    servers: [IpAddr; 2],
    family: Family,
}

impl Fixture {
    fn measure(&self, services: u32, changes: u32) -> Result<Effects> {
        step(&format!("create Services up to {services}"), || self.fill(services))?;
        let created = step(&format!("create a Service, {changes} times"), || {
            (0..changes).map(|number| self.create(number)).collect::<Result<_>>()
        })?;
        let moved = step(&format!("change an endpoint, {changes} times"), || {
            self.change_endpoint(changes)
        })?;
        Ok(Effects { services, created, moved })
    }

    /// Creates Services until one is missing: the measured Service is the last one.
    fn fill(&self, services: u32) -> Result<()> {
        let existing = self.api.count()?;
        let others = (existing..services.saturating_sub(1)).map(|number| Service {
            name: format!("other-{number}"),
            address: address(self.family, 1000 + number),
            endpoint: unused_address(self.family, number),
        });
        self.api.create_many(others.collect())
    }

    /// Each Service gets an address of its own, because conntrack keeps an entry of an unanswered
    /// connection for some time.
    fn create(&self, number: u32) -> Result<f64> {
        let service = Service {
            name: "measured".to_owned(),
            address: address(self.family, number),
            endpoint: self.servers[0],
        };
        let delay = self.measure_delay(&service, SERVERS[0], || self.api.create(&service))?;
        self.api.delete(&service)?;
        Ok(delay.as_secs_f64())
    }

    fn change_endpoint(&self, changes: u32) -> Result<Vec<f64>> {
        let mut service = Service {
            name: "moved".to_owned(),
            address: address(self.family, 999),
            endpoint: self.servers[0],
        };
        self.measure_delay(&service, SERVERS[0], || self.api.create(&service))?;
        let mut took = Vec::new();
        for change in 1..=changes {
            let index = usize::from(!change.is_multiple_of(2));
            service.endpoint = self.servers[index];
            let delay =
                self.measure_delay(&service, SERVERS[index], || self.api.change(&service))?;
            took.push(delay.as_secs_f64());
        }
        self.api.delete(&service)?;
        Ok(took)
    }

    /// The time from the beginning of `write` to the first reply of `server`.
    fn measure_delay(
        &self,
        service: &Service,
        server: &'static str,
        write: impl FnOnce() -> Result<()>,
    ) -> Result<Duration> {
        let target = SocketAddr::new(service.address, api::PORT);
        let probe = Probe { target, server, until: Instant::now() + TIMEOUT };
        self.probes.send(probe).context("the client has ended")?;
        let started = Instant::now();
        write()?;
        let replied = self.results.recv().context("the client has ended")??;
        ensure!(replied > started, "{server} replied before the write");
        Ok(replied - started)
    }
}

/// A ClusterIP from the upper part of the range, from which the API server does not allocate by
/// itself at first.
fn address(family: Family, number: u32) -> IpAddr {
    let [_, _, high, low] = (number + 0x4000).to_be_bytes();
    match family {
        Family::Ipv4 | Family::Dual => Ipv4Addr::new(10, 96, high, low).into(),
        Family::Ipv6 => {
            let last = u16::from_be_bytes([high, low]);
            Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, last).into()
        }
    }
}

/// An address of an endpoint that does not exist.
fn unused_address(family: Family, number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    match family {
        Family::Ipv4 | Family::Dual => Ipv4Addr::new(100, 64, high, low).into(),
        Family::Ipv6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, high.into(), low.into()).into(),
    }
}
