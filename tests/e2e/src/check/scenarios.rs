//! The scenarios: a component goes away while pods must keep talking.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::flow::Flow;
use crate::deploy;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::node;
use crate::pods::Pods;
use crate::state::State;
use crate::wait;

/// A check.
#[derive(Debug)]
pub(super) struct Scenario {
    /// A sentence about Weir.
    pub(super) name: &'static str,
    pub(super) run: fn(&Environment, &mut State) -> Result<()>,
}

/// All checks.
pub(super) const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "pods keep talking while agent pods are deleted", run: agents_deleted },
    Scenario { name: "pods keep talking while the agents are upgraded", run: agents_upgraded },
    Scenario { name: "pods keep talking while an agent is killed", run: agent_killed },
    Scenario { name: "pods keep talking while the kubelet restarts", run: kubelet_restarted },
    Scenario { name: "pods keep talking while containerd restarts", run: containerd_restarted },
    Scenario { name: "pods keep talking while a Node claims a taken subnet", run: subnet_claimed },
    Scenario { name: "pods are back after their node has booted", run: node_booted },
];

const TIMEOUT: Duration = Duration::from_secs(120);
const CLAIMANT: &str = "claimant";
const AGENTS: [&str; 4] = ["-n", "weir-system", "-l", "app.kubernetes.io/component=agent"];

fn agents_deleted(environment: &Environment, state: &mut State) -> Result<()> {
    while_pods_talk(environment, state, |kubectl, _| {
        kubectl.run(&[&["delete", "pods", "--wait"], &AGENTS[..]].concat())?;
        deploy::wait_for_agents(kubectl)
    })
}

fn agents_upgraded(environment: &Environment, state: &mut State) -> Result<()> {
    while_pods_talk(environment, state, |kubectl, _| {
        let agents = ["-n", "weir-system", "daemonset/weir-agent"];
        kubectl.run(&[&["rollout", "restart"], &agents[..]].concat())?;
        kubectl.run(&[&["rollout", "status", "--timeout=120s"], &agents[..]].concat()).map(drop)
    })
}

fn agent_killed(environment: &Environment, state: &mut State) -> Result<()> {
    while_pods_talk(environment, state, |kubectl, state| {
        let node = state.nodes.first().context("no nodes")?;
        let agent = node::agent(node)?.context("no agent runs on the node")?;
        agent.signal(Signal::KILL)?;
        wait::holds("the agent has ended", TIMEOUT, || Ok(!agent.is_alive()))?;
        deploy::wait_for_agents(kubectl)
    })
}

fn kubelet_restarted(environment: &Environment, state: &mut State) -> Result<()> {
    program_restarted(environment, state, "kubelet")
}

fn containerd_restarted(environment: &Environment, state: &mut State) -> Result<()> {
    program_restarted(environment, state, "containerd")
}

fn program_restarted(environment: &Environment, state: &mut State, name: &str) -> Result<()> {
    while_pods_talk(environment, state, |_, state| {
        let node = state.nodes.first_mut().context("no nodes")?;
        node::restart(environment, node, name)?;
        state.save(environment)?;
        deploy::wait_ready(environment, state)
    })
}

/// Adds a Node object without a machine, which claims the subnet of the server's node.
fn subnet_claimed(environment: &Environment, state: &mut State) -> Result<()> {
    while_pods_talk(environment, state, |kubectl, state| {
        let (_, second) = first_two_nodes(state)?;
        let subnets = kubectl.pod_cidrs()?.remove(&second).context("the node has no subnet")?;
        let claimant = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": CLAIMANT},
            "spec": {"podCIDR": subnets.first(), "podCIDRs": subnets, "unschedulable": true},
        });
        kubectl.apply(&claimant.to_string())?;
        let addresses = json!([{"type": "InternalIP", "address": "172.31.77.99"}]);
        let status = json!({"status": {"addresses": addresses}}).to_string();
        let patch = ["patch", "node", CLAIMANT, "--subresource=status", "-p", &status];
        let reported = kubectl.run(&patch).and_then(|_| {
            let reason = "--field-selector=reason=PodCIDROverlap";
            wait::until("an Event reports the overlap", TIMEOUT, || {
                let events = kubectl.list(&["events", "--all-namespaces", reason])?;
                ensure!(!events.is_empty(), "there is no such Event");
                Ok(())
            })
        });
        kubectl.run(&["delete", "node", CLAIMANT])?;
        reported
    })
}

/// Runs `work` while a pod on the first node sends requests to a pod on the second. Checks that no
/// request is lost and that new pods on both nodes work afterwards.
fn while_pods_talk(
    environment: &Environment,
    state: &mut State,
    work: impl FnOnce(&Kubectl, &mut State) -> Result<()>,
) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    let pods = Pods::new(kubectl.clone(), state)?;
    let (first, second) = first_two_nodes(state)?;
    let flow = Flow::start(&pods, &first, &second)?;
    work(&kubectl, state)?;
    flow.ensure_nothing_lost()?;
    new_pods_talk(&pods, &first, &second)?;
    pods.clear()
}

fn new_pods_talk(pods: &Pods, first: &str, second: &str) -> Result<()> {
    pods.create_server("late-server", first)?;
    pods.create("late-client", second, &["sleep", "600"])?;
    let address = pods.ready("late-server")?;
    let host = if address.contains(':') { format!("[{address}]") } else { address };
    pods.ready("late-client")?;
    let url = format!("http://{host}:8080/hostname");
    wait::until("new pods reach each other", TIMEOUT, || {
        pods.exec("late-client", &["curl", "--silent", "--max-time", "2", &url]).map(drop)
    })
}

/// Powers the second node off and boots it again, with its disk as it was. Its pod comes back,
/// perhaps with another address, and new pods reach each other afterwards.
fn node_booted(environment: &Environment, state: &mut State) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    let pods = Pods::new(kubectl.clone(), state)?;
    let (first, second) = first_two_nodes(state)?;
    pods.create_server("booted", &second)?;
    pods.ready("booted")?;
    let index = state.nodes.iter().position(|node| node.name() == second).context("no node")?;
    node::power_off(&state.nodes[index])?;
    node::boot_again(environment, state, index, |_| Ok(()))?;
    wait_for_restart(&kubectl, "booted")?;
    deploy::wait_ready(environment, state)?;
    deploy::wait_for_agents(&kubectl)?;
    pods.ready("booted")?;
    new_pods_talk(&pods, &first, &second)?;
    pods.clear()
}

/// Waits until the pod's container has been started again. Until then the API server shows the
/// status from before the boot.
fn wait_for_restart(kubectl: &Kubectl, pod: &str) -> Result<()> {
    wait::until("the pod has been started again", TIMEOUT, || {
        let pod = kubectl.get(&["-n", crate::pods::NAMESPACE, "pod", pod])?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        ensure!(restarts.is_some_and(|count| count > 0), "not yet");
        Ok(())
    })
}

fn first_two_nodes(state: &State) -> Result<(String, String)> {
    let [first, second, ..] = state.nodes.as_slice() else {
        anyhow::bail!("the cluster has fewer than two nodes");
    };
    Ok((first.name().to_owned(), second.name().to_owned()))
}
