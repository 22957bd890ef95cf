//! How soon the network of a node works after its agent has started.
//!
//! A node boots as one that has been away for long: the API server does not hold it for Ready, and
//! it has no conflist, so that it cannot get Ready before its agent has written one. A pod waits for
//! it there.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;
use serde_json::json;

use super::watch::{Watch, now};
use crate::console::step;
use crate::deploy;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::node;
use crate::place::Place;
use crate::pods::{NAMESPACE, Pods};
use crate::state::State;

const POD: &str = "started";
const CONFLIST: &str = "/etc/cni/net.d/10-weir.conflist";
const PATIENCE: Duration = Duration::from_secs(120);
/// Between looking for a file or asking a pod and doing so again.
const PAUSE: Duration = Duration::from_millis(10);
const ANSWERED: Duration = Duration::from_millis(200);

/// One boot: seconds from the start of the agent's process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Start {
    /// To the conflist, after which the runtime has a network.
    pub(super) conflist: f64,
    /// To the API server's telling that the node is Ready.
    pub(super) ready: f64,
    /// To the answer of a pod to another node's request.
    pub(super) answered: f64,
}

/// Boots the last node a few times.
///
/// # Errors
/// When it does not come back.
pub(super) fn measure(
    environment: &Environment,
    state: &mut State,
    boots: u32,
) -> Result<Vec<Start>> {
    ensure!(state.nodes.len() > 1, "the cluster has no node that could ask the one that boots");
    let pods = Pods::new(Kubectl::new(environment, state)?, state)?;
    let mut starts = Vec::new();
    for number in 1..=boots {
        starts.push(step(&format!("boot {number}"), || boot(environment, state, &pods))?);
    }
    pods.clear()?;
    Ok(starts)
}

fn boot(environment: &Environment, state: &mut State, pods: &Pods) -> Result<Start> {
    let index = state.nodes.len() - 1;
    let client = state.nodes[0].place.clone();
    let name = state.nodes[index].name().to_owned();
    node::power_off(&state.nodes[index])?;
    forget(&pods.kubectl, &name)?;
    pods.create_server(POD, &name)?;
    let ready = ["node", name.as_str()];
    let field = r#"{.status.conditions[?(@.type=="Ready")].status}"#;
    let ready = Watch::start(&pods.kubectl, &ready, field)?;
    let address = ["-n", NAMESPACE, "pod", POD];
    let address = Watch::start(&pods.kubectl, &address, "{.status.podIP}")?;
    node::boot_again(environment, state, index, |node| {
        let conflist = node.place.view(CONFLIST);
        fs::remove_file(&conflist).with_context(|| format!("remove {CONFLIST} of {name}"))
    })?;
    let node = &state.nodes[index];
    let conflist = node.place.view(CONFLIST);
    let (agent, conflist, ready, answered) = thread::scope(|scope| {
        let conflist = scope.spawn(|| appears(&conflist));
        let ready = scope.spawn(move || {
            let ready = ready.first(PATIENCE, |value| (value == "True").then_some(()));
            ready.map(|(when, ())| when).context("wait for a Ready node")
        });
        let answered = scope.spawn(move || {
            let address = address.first(PATIENCE, |value| value.parse::<IpAddr>().ok());
            answers(&client, address.context("wait for the pod's address")?.1)
        });
        let agent = poll("the agent runs", || node::agent(node).ok().flatten());
        (agent, joined(conflist), joined(ready), joined(answered))
    });
    let started = agent?.started();
    let since = |when: Duration| when.saturating_sub(started).as_secs_f64();
    let start =
        Start { conflist: since(conflist?), ready: since(ready?), answered: since(answered?) };
    deploy::wait_ready(environment, state)?;
    deploy::wait_for_agents(&pods.kubectl)?;
    pods.kubectl.run(&["-n", NAMESPACE, "delete", "pod", POD, "--wait"])?;
    Ok(start)
}

/// What the node controller writes 40 seconds after the last word of a node.
fn forget(kubectl: &Kubectl, node: &str) -> Result<()> {
    let unknown = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
    let patch = json!({"status": {"conditions": [unknown]}}).to_string();
    kubectl.run(&["patch", "node", node, "--subresource=status", "-p", &patch]).map(drop)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn appears(file: &Path) -> Result<Duration> {
    poll("the conflist is there", || file.exists().then(now))
}

/// Asks a pod from another node until it answers.
fn answers(client: &Place, pod: IpAddr) -> Result<Duration> {
    let namespace = format!("/proc/{}/ns/net", client.anchor.pid);
    let namespace = File::open(&namespace).with_context(|| format!("open {namespace}"))?;
    // This thread alone goes there, and ends there.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter the network namespace of a node")?;
    poll("the pod answers", || ask(SocketAddr::new(pod, 8080)).ok().map(|()| now()))
}

fn ask(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWERED)?;
    stream.set_read_timeout(Some(ANSWERED))?;
    stream.write_all(b"GET /hostname HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    ensure!(line == *b"HTTP/1.1 200", "it refuses");
    Ok(())
}

fn poll<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn asked(answer: &'static [u8]) -> Result<()> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            stream.read_exact(&mut [0; 13]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let asked = ask(address);
        thread.join().unwrap();
        asked
    }

    #[test]
    fn only_a_whole_answer_counts() {
        assert!(asked(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(asked(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
        assert!(asked(b"HTTP/1").is_err());
    }
}
