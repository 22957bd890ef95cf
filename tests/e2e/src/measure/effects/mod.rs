//! From a write to the API server to its effect on a pod's connections.
//!
//! A client in a pod's network namespace connects again and again, and tells when it got what is
//! waited for. Times begin before the request to the API server is sent, so that the API server's
//! own share is in them, for whoever serves Services.

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
use crate::shape::Family;
use crate::state::State;
use api::{Api, Service};
use probe::Probe;

/// Two pods that answer with their names, one on either node.
const SERVERS: [&str; 2] = ["server-a", "server-b"];
const CLIENT: &str = "client";
/// For what follows a write.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen with so many Services. Times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Effects {
    pub(super) services: u32,
    /// From the writing of a Service and of its endpoint to a pod's first connection.
    pub(super) created: Vec<f64>,
    /// From the writing of another endpoint to a pod's first connection with it.
    pub(super) moved: Vec<f64>,
}

/// Measures with each number of Services, the measured one among them.
///
/// # Errors
/// When the cluster does not do what is measured.
pub(super) fn measure(
    environment: &Environment,
    state: &State,
    services: &[u32],
    changes: u32,
) -> Result<Vec<Effects>> {
    let family = state.shape.ip_family;
    let pods = Pods::new(Kubectl::new(environment, state)?, state)?;
    let nodes = (state.nodes.first(), state.nodes.last());
    let (first, last) = nodes.0.zip(nodes.1).context("no nodes")?;
    let sleep = probe::sleep();
    pods.create(CLIENT, first.name(), &sleep)?;
    for (server, node) in SERVERS.iter().zip([first, last]) {
        pods.create_server(server, node.name())?;
    }
    pods.ready(CLIENT)?;
    let ready = SERVERS.map(|server| -> Result<IpAddr> { Ok(pods.ready(server)?.parse()?) });
    let [a, b] = ready;
    let servers = [a?, b?];
    let client = probe::namespace_of(&sleep)?;
    let hub = format!("/proc/{}/ns/net", state.hub()?.place.anchor.pid);
    let hub = File::open(&hub).with_context(|| format!("open {hub}"))?;
    let config = admin_config(environment.state()?);

    let effects = thread::scope(|scope| {
        let (asking, probes) = mpsc::channel();
        let (answering, answers) = mpsc::channel();
        scope.spawn(move || probe::serve(&client, &probes, &answering));
        let measuring = scope.spawn(move || -> Result<Vec<Effects>> {
            // This thread alone goes there, and ends there.
            move_into_link_name_space(hub.as_fd(), Some(LinkNameSpaceType::Network))
                .context("enter the network namespace of the hub")?;
            let api = Api::connect(&config, NAMESPACE)?;
            let scene = Scene { api, asking, answers, servers, family };
            let mut sorted = services.to_vec();
            sorted.sort_unstable();
            let effects: Result<Vec<_>> =
                sorted.iter().map(|services| scene.measure(*services, changes)).collect();
            step("delete the Services again", || scene.api.clear())?;
            effects
        });
        measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    step("delete the pods again", || pods.clear())?;
    Ok(effects)
}

struct Scene {
    api: Api,
    asking: Sender<Probe>,
    answers: Receiver<Result<Instant>>,
    servers: [IpAddr; 2],
    family: Family,
}

impl Scene {
    fn measure(&self, services: u32, changes: u32) -> Result<Effects> {
        step(&format!("have {services} Services"), || self.fill(services))?;
        let created = step(&format!("create a Service, {changes} times"), || {
            (0..changes).map(|number| self.create(number)).collect::<Result<_>>()
        })?;
        let moved = step(&format!("change an endpoint, {changes} times"), || self.move_(changes))?;
        Ok(Effects { services, created, moved })
    }

    /// Creates what is missing of one Service that stays less than there shall be.
    fn fill(&self, services: u32) -> Result<()> {
        let have = self.api.count()?;
        let others = (have..services.saturating_sub(1)).map(|number| Service {
            name: format!("other-{number}"),
            address: address(self.family, 1000 + number),
            endpoint: nobody(self.family, number),
        });
        self.api.create_many(others.collect())
    }

    /// One after the other at addresses of their own: a connection that nobody answered is
    /// forgotten by nobody's table at once.
    fn create(&self, number: u32) -> Result<f64> {
        let service = Service {
            name: "measured".to_owned(),
            address: address(self.family, number),
            endpoint: self.servers[0],
        };
        let started = self.after(&service, SERVERS[0], || self.api.create(&service))?;
        self.api.delete(&service)?;
        Ok(started.as_secs_f64())
    }

    fn move_(&self, changes: u32) -> Result<Vec<f64>> {
        let mut service = Service {
            name: "moved".to_owned(),
            address: address(self.family, 999),
            endpoint: self.servers[0],
        };
        self.after(&service, SERVERS[0], || self.api.create(&service))?;
        let mut took = Vec::new();
        for change in 1..=changes {
            let index = usize::from(!change.is_multiple_of(2));
            service.endpoint = self.servers[index];
            let moved = self.after(&service, SERVERS[index], || self.api.change(&service))?;
            took.push(moved.as_secs_f64());
        }
        self.api.delete(&service)?;
        Ok(took)
    }

    /// How long after the beginning of `write` a server of this name answers.
    fn after(
        &self,
        service: &Service,
        server: &'static str,
        write: impl FnOnce() -> Result<()>,
    ) -> Result<Duration> {
        let target = SocketAddr::new(service.address, api::PORT);
        let probe = Probe { target, server, until: Instant::now() + PATIENCE };
        self.asking.send(probe).context("the client has gone")?;
        let started = Instant::now();
        write()?;
        let answered = self.answers.recv().context("the client has gone")??;
        ensure!(answered > started, "{server} answered before anything was written");
        Ok(answered - started)
    }
}

/// One of the addresses of Services that the API server does not choose by itself so soon.
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

/// An endpoint that exists on paper.
fn nobody(family: Family, number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    match family {
        Family::Ipv4 | Family::Dual => Ipv4Addr::new(100, 64, high, low).into(),
        Family::Ipv6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, high.into(), low.into()).into(),
    }
}
