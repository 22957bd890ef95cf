//! Boots of a node: the delay from the start of its agent to a working network.
//!
//! The node boots as if it had been off for long: the API server shows it as not Ready, and it has
//! no conflist, so that it cannot get Ready before its agent has written one. A pod is assigned to
//! the node before it boots.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;
use serde_json::json;
use weir_tests::lab::poll;

use super::watch::{Watch, now};
use crate::console::step;
use crate::deploy;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::machine::Machine;
use crate::node;
use crate::pods::{NAMESPACE, Pods};
use crate::state::State;

const POD: &str = "started";
const CONFLIST: &str = "/etc/cni/net.d/10-weir.conflist";
const TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks at a file, or two requests to a pod.
const PAUSE: Duration = Duration::from_millis(10);
const REPLY_TIMEOUT: Duration = Duration::from_millis(200);

/// The times of a boot, in seconds from the start of the agent's process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct BootTimes {
    /// To the conflist, with which the container runtime has a network.
    pub(super) conflist: f64,
    /// To the API server's event that the node is Ready.
    pub(super) ready: f64,
    /// To a pod's reply to a request from another node.
    pub(super) answered: f64,
}

/// Boots the last node `boots` times.
///
/// # Errors
/// When the node does not get Ready again.
pub(super) fn measure(
    environment: &Environment,
    state: &mut State,
    boots: u32,
) -> Result<Vec<BootTimes>> {
    ensure!(
        state.nodes.len() > 1,
        "the cluster has no other node that could send requests to the one that boots"
    );
    let pods = Pods::new(Kubectl::new(environment, state)?, state)?;
    let mut starts = Vec::new();
    for number in 1..=boots {
        starts.push(step(&format!("boot {number}"), || boot(environment, state, &pods))?);
    }
    pods.clear()?;
    Ok(starts)
}

fn boot(environment: &Environment, state: &mut State, pods: &Pods) -> Result<BootTimes> {
    let index = state.nodes.len() - 1;
    let client = state.nodes[0].machine.clone();
    let name = state.nodes[index].name().to_owned();
    node::power_off(&state.nodes[index])?;
    mark_unknown(&pods.kubectl, &name)?;
    pods.create_server(POD, &name)?;
    let ready = ["node", name.as_str()];
    let field = r#"{.status.conditions[?(@.type=="Ready")].status}"#;
    let ready = Watch::start(&pods.kubectl, &ready, field)?;
    let address = ["-n", NAMESPACE, "pod", POD];
    let address = Watch::start(&pods.kubectl, &address, "{.status.podIP}")?;
    node::boot_again(environment, state, index, |node| {
        let conflist = node.machine.path_from_outside(CONFLIST);
        fs::remove_file(&conflist).with_context(|| format!("remove {CONFLIST} of {name}"))
    })?;
    let node = &state.nodes[index];
    let conflist = node.machine.path_from_outside(CONFLIST);
    let (agent, conflist, ready, answered) = thread::scope(|scope| {
        let conflist = scope.spawn(|| wait_for_file(&conflist));
        let ready = scope.spawn(move || {
            let ready = ready.first(TIMEOUT, |value| (value == "True").then_some(()));
            ready.map(|(when, ())| when).context("wait for a Ready node")
        });
        let answered = scope.spawn(move || {
            let address = address.first(TIMEOUT, |value| value.parse::<IpAddr>().ok());
            wait_for_reply(&client, address.context("wait for the pod's address")?.1)
        });
        let agent = poll("the agent runs", TIMEOUT, PAUSE, || Ok(node::agent(node).ok().flatten()));
        (agent, joined(conflist), joined(ready), joined(answered))
    });
    let started = agent?.started();
    let since = |when: Duration| when.saturating_sub(started).as_secs_f64();
    let start =
        BootTimes { conflist: since(conflist?), ready: since(ready?), answered: since(answered?) };
    deploy::wait_ready(environment, state)?;
    deploy::wait_for_agents(&pods.kubectl)?;
    pods.kubectl.run(&["-n", NAMESPACE, "delete", "pod", POD, "--wait"])?;
    Ok(start)
}

/// Writes the condition that the node controller writes 40 seconds after the last heartbeat.
fn mark_unknown(kubectl: &Kubectl, node: &str) -> Result<()> {
    let unknown = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
    let patch = json!({"status": {"conditions": [unknown]}}).to_string();
    kubectl.run(&["patch", "node", node, "--subresource=status", "-p", &patch]).map(drop)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn wait_for_file(file: &Path) -> Result<Duration> {
    poll("the conflist exists", TIMEOUT, PAUSE, || Ok(file.exists().then(now)))
}

/// Sends requests to a pod from another node until it replies.
fn wait_for_reply(client: &Machine, pod: IpAddr) -> Result<Duration> {
    let namespace = format!("/proc/{}/ns/net", client.anchor.pid);
    let namespace = File::open(&namespace).with_context(|| format!("open {namespace}"))?;
    // Only this thread enters the namespace, and it ends there.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter the network namespace of a node")?;
    let server = SocketAddr::new(pod, 8080);
    poll("the pod replies", TIMEOUT, PAUSE, || Ok(request(server).ok().map(|()| now())))
}

fn request(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, REPLY_TIMEOUT)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.write_all(b"GET /hostname HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    ensure!(line == *b"HTTP/1.1 200", "the status is not 200");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn request_with_reply(reply: &'static [u8]) -> Result<()> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            stream.read_exact(&mut [0; 13]).unwrap();
            stream.write_all(reply).unwrap();
        });
        let result = request(address);
        thread.join().unwrap();
        result
    }

    #[test]
    fn only_a_complete_status_line_with_200_counts() {
        assert!(request_with_reply(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(request_with_reply(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
        assert!(request_with_reply(b"HTTP/1").is_err());
    }
}
