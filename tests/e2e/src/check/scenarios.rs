//! What goes away, and what must go on meanwhile.

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
    /// A sentence.
    pub(super) name: &'static str,
    pub(super) run: fn(&Environment, &mut State) -> Result<()>,
}

/// All of them.
pub(super) const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "pods keep talking while agent pods are deleted", run: agents_deleted },
    Scenario { name: "pods keep talking while the agents are upgraded", run: agents_upgraded },
    Scenario { name: "pods keep talking while an agent is killed", run: agent_killed },
    Scenario { name: "pods keep talking while the kubelet restarts", run: kubelet_restarted },
    Scenario { name: "pods keep talking while containerd restarts", run: containerd_restarted },
    Scenario { name: "pods keep talking while a Node claims a taken subnet", run: subnet_claimed },
    Scenario { name: "pods are back after their node has booted", run: node_booted },
];

const PATIENCE: Duration = Duration::from_secs(120);
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
        wait::holds("the agent has ended", PATIENCE, || Ok(!agent.is_alive()))?;
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

/// A Node that stands for no machine, with the subnet of the node that is asked.
fn subnet_claimed(environment: &Environment, state: &mut State) -> Result<()> {
    while_pods_talk(environment, state, |kubectl, state| {
        let (_, second) = two(state)?;
        let subnets = deploy::pod_cidrs(kubectl)?.remove(&second).context("it has no subnet")?;
        let claimant = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": CLAIMANT},
            "spec": {"podCIDR": subnets.first(), "podCIDRs": subnets, "unschedulable": true},
        });
        kubectl.apply(&claimant.to_string())?;
        let addresses = json!([{"type": "InternalIP", "address": "172.31.77.99"}]);
        let status = json!({"status": {"addresses": addresses}}).to_string();
        let patch = ["patch", "node", CLAIMANT, "--subresource=status", "-p", &status];
        let told = kubectl.run(&patch).and_then(|_| {
            let reason = "--field-selector=reason=PodCIDROverlap";
            wait::until("an Event tells of it", PATIENCE, || {
                let events = kubectl.list(&["events", "--all-namespaces", reason])?;
                ensure!(!events.is_empty(), "none does");
                Ok(())
            })
        });
        kubectl.run(&["delete", "node", CLAIMANT])?;
        told
    })
}

/// Does `work` while a pod on the first node asks one on the second, and sees that nothing is lost
/// and that both nodes still get new pods to work.
fn while_pods_talk(
    environment: &Environment,
    state: &mut State,
    work: impl FnOnce(&Kubectl, &mut State) -> Result<()>,
) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    let pods = Pods::new(kubectl.clone(), state)?;
    let (first, second) = two(state)?;
    let flow = Flow::start(&pods, &first, &second)?;
    work(&kubectl, state)?;
    flow.demand_nothing_lost()?;
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
    wait::until("new pods reach each other", PATIENCE, || {
        pods.exec("late-client", &["curl", "--silent", "--max-time", "2", &url]).map(drop)
    })
}

/// The second node loses its power and boots again, with its disk as it was. Its pod is gone
/// meanwhile and comes back, perhaps with another address; those of other nodes notice nothing but
/// that.
fn node_booted(environment: &Environment, state: &mut State) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    let pods = Pods::new(kubectl.clone(), state)?;
    let (first, second) = two(state)?;
    pods.create_server("booted", &second)?;
    pods.ready("booted")?;
    let index = state.nodes.iter().position(|node| node.name() == second).context("no node")?;
    node::power_off(&state.nodes[index])?;
    node::boot_again(environment, state, index, |_| Ok(()))?;
    restarted(&kubectl, "booted")?;
    deploy::wait_ready(environment, state)?;
    deploy::wait_for_agents(&kubectl)?;
    pods.ready("booted")?;
    new_pods_talk(&pods, &first, &second)?;
    pods.clear()
}

/// Waits until the pod's container has been started again: until then the API server tells of the
/// one before the boot.
fn restarted(kubectl: &Kubectl, pod: &str) -> Result<()> {
    wait::until("the pod has been started again", PATIENCE, || {
        let pod = kubectl.get(&["-n", crate::pods::NAMESPACE, "pod", pod])?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        ensure!(restarts.is_some_and(|count| count > 0), "not yet");
        Ok(())
    })
}

fn two(state: &State) -> Result<(String, String)> {
    let [first, second, ..] = state.nodes.as_slice() else {
        anyhow::bail!("the cluster has fewer than two nodes");
    };
    Ok((first.name().to_owned(), second.name().to_owned()))
}
