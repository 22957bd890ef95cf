//! Agents against a real API server: `cargo xtask e2e api`.
//!
//! All checks share one test, because starting a control plane takes longer than the checks. The
//! name of each check is a sentence, and each leaves the cluster as it was.

use std::fs;
use std::path::Path;

mod token;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_api_tests::{Agent, Kubectl, TestCluster};
use weir_tests::lab::eventually;

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
const CONDITION: &str = "NetworkUnavailable";

#[test]
fn agents_follow_a_real_api_server() -> Result<()> {
    let mut cluster = TestCluster::new()?;
    cluster.create_nodes()?;
    a_directory_of_manifests_gives_the_same_network(&cluster).context("same network")?;
    agents_keep_the_network_without_the_api_server_and_apply_changes_once_it_is_back(&mut cluster)
        .context("API server down and back")?;
    agents_apply_the_state_of_a_restored_backup(&mut cluster).context("restored")?;
    the_agent_sets_network_unavailable_to_false(&cluster).context("condition")?;
    token::changes_nothing_but_what_its_agent_needs(&cluster).context("token")?;
    services_of_another_proxy_are_ignored(&cluster).context("services")?;
    a_denied_verb_is_named_in_the_log(&cluster).context("denied verb")
}

fn a_directory_of_manifests_gives_the_same_network(cluster: &TestCluster) -> Result<()> {
    let agents = cluster.start_agents()?;
    wait_for_peers(cluster, &agents, 2)?;
    let from_api = state(cluster)?;
    for agent in agents {
        agent.stop()?;
    }
    for machine in &cluster.machines {
        // Entries of the first agent must not count as those of the second one.
        machine.remove_routes()?;
    }
    let agents = cluster.start_agents_from_directory()?;
    wait_for_peers(cluster, &agents, 2)?;
    let from_directory = state(cluster)?;
    ensure!(from_api == from_directory, "{from_api:#?}\nis not\n{from_directory:#?}");
    agents.into_iter().try_for_each(Agent::stop)
}

fn agents_keep_the_network_without_the_api_server_and_apply_changes_once_it_is_back(
    cluster: &mut TestCluster,
) -> Result<()> {
    let agents = cluster.start_agents()?;
    wait_for_peers(cluster, &agents, 2)?;
    let before = state(cluster)?;

    cluster.plane.kill_api_server();
    eventually("the agents log that the API server is unreachable", TIMEOUT, || {
        Ok(agents.iter().all(|agent| agent.log().contains("has not been reachable since")))
    })?;
    ensure!(state(cluster)? == before, "the network changed while the API server was down");

    cluster.plane.change_unwatched(|kubectl| {
        kubectl.run(&["delete", "node", "node3"])?;
        kubectl.set_address("node2", "172.31.77.22")
    })?;
    cluster.plane.restart()?;
    eventually("the agents have applied the changes", TIMEOUT, || {
        let routes = cluster.machines[0].routes()?;
        let fdb = cluster.machines[0].fdb()?;
        let moved = fdb.iter().any(|entry| entry.contains("dst 172.31.77.22"));
        Ok(routes.len() == 2 && moved)
    })
    .with_context(|| agents[0].log())?;
    cluster.plane.kubectl().create_node("node3", "172.31.77.13")?;
    cluster.plane.kubectl().set_address("node2", "172.31.77.12")?;
    wait_for_peers(cluster, &agents, 2)?;
    agents.into_iter().try_for_each(Agent::stop)
}

/// The resource versions are lower than those that the agents have seen: a watch from the last seen
/// version would give no event.
fn agents_apply_the_state_of_a_restored_backup(cluster: &mut TestCluster) -> Result<()> {
    cluster.plane.save_state()?;
    let agents = cluster.start_agents()?;
    wait_for_peers(cluster, &agents, 2)?;
    let saved = state(cluster)?;
    // Further writes increase the resource version beyond that of the backup.
    for address in ["172.31.77.23", "172.31.77.24", "172.31.77.22"] {
        for _ in 0..5 {
            cluster.plane.kubectl().set_address("node2", "172.31.77.21")?;
            cluster.plane.kubectl().set_address("node2", address)?;
        }
    }
    eventually("the agents follow", TIMEOUT, || Ok(state(cluster)? != saved))?;
    cluster.plane.restore_state()?;
    eventually("the agents are back at the saved state", TIMEOUT, || Ok(state(cluster)? == saved))
        .with_context(|| agents[0].log())?;
    agents.into_iter().try_for_each(Agent::stop)
}

/// A Service without a selector: no controller writes its endpoints.
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.1.2]}]
";

/// The API server's own Service exists from the start.
fn services_of_another_proxy_are_ignored(cluster: &TestCluster) -> Result<()> {
    let kubectl = cluster.plane.kubectl();
    let manifest = Path::new(env!("CARGO_TARGET_TMPDIR")).join("service.yaml");
    fs::write(&manifest, SERVICE)?;
    let manifest = manifest.to_str().context("the target directory's path is not UTF-8")?;
    let agents = cluster.start_agents()?;
    let know = |services: usize, slices: usize| {
        let counts = format!("services={services} slices={slices}");
        eventually(&format!("the agents know {counts}"), TIMEOUT, || {
            let last = |log: String| {
                let mut changes =
                    log.lines().filter(|line| line.contains("the cluster has changed"));
                changes.next_back().is_some_and(|line| line.contains(&counts))
            };
            Ok(agents.iter().all(|agent| last(agent.log())))
        })
        .with_context(|| agents[0].log())
    };
    know(1, 0)?;
    kubectl.run(&["create", "-f", manifest])?;
    know(2, 1)?;
    kubectl.run(&["label", "service", "web", "service.kubernetes.io/service-proxy-name=other"])?;
    know(1, 1)?;
    kubectl.run(&["label", "service", "web", "service.kubernetes.io/service-proxy-name-"])?;
    know(2, 1)?;
    kubectl.run(&["delete", "-f", manifest])?;
    know(1, 0)?;
    agents.into_iter().try_for_each(Agent::stop)
}

fn a_denied_verb_is_named_in_the_log(cluster: &TestCluster) -> Result<()> {
    let kubectl = cluster.plane.kubectl();
    kubectl.run(&["delete", "clusterrolebinding", "weir-agent"])?;
    let agents = cluster.start_agents()?;
    eventually("the agents log which verb is denied", TIMEOUT, || {
        Ok(agents.iter().all(|agent| {
            let log = agent.log();
            let denied = |what| log.contains(&format!("denied the verb `watch` on `{what}`"));
            ["nodes", "services", "endpointslices"].into_iter().all(denied)
                && log.contains("the ClusterRole `weir-agent` of the shipped manifests allows it")
        }))
    })
    .with_context(|| agents[0].log())?;
    for agent in &agents {
        ensure!(agent.is_running()?, "the agent ended:\n{}", agent.log());
    }
    cluster.apply_manifests("services")?;
    wait_for_peers(cluster, &agents, 2)?;
    eventually("the agents log that the failure is over", TIMEOUT, || {
        Ok(agents.iter().all(|agent| agent.log().contains("known in full again")))
    })?;
    agents.into_iter().try_for_each(Agent::stop)
}

fn the_agent_sets_network_unavailable_to_false(cluster: &TestCluster) -> Result<()> {
    let kubectl = cluster.plane.kubectl();
    let agents = cluster.start_agents()?;
    wait_for_peers(cluster, &agents, 2)?;
    ensure!(!agents.iter().any(|agent| agent.log().contains("nodes/status")), "not needed yet");

    // The manifests for clouds have the right, the others do not.
    kubectl.set_condition("node1", CONDITION, "True")?;
    let complaints = || agents[0].log().matches("WARN the Node has the condition").count();
    eventually("the agent logs what is denied, and which manifests allow it", TIMEOUT, || {
        let log = agents[0].log();
        Ok(complaints() == 1 && log.contains("denied") && log.contains("manifests/overlays/cloud"))
    })
    .with_context(|| agents[0].log())?;
    wait_for_no_write(&kubectl, &agents)?;
    ensure!(complaints() == 1, "{} complaints", complaints());
    cluster.apply_manifests("services-cloud")?;
    eventually("the condition is False", TIMEOUT, || {
        Ok(condition(&kubectl.node("node1")?).is_some_and(|found| found["status"] == "False"))
    })
    .with_context(|| agents[0].log())?;

    for round in 1..=2 {
        kubectl.set_condition("node1", CONDITION, "True")?;
        eventually("the condition is False", TIMEOUT, || {
            let found = condition(&kubectl.node("node1")?);
            Ok(found.is_some_and(|found| {
                found["status"] == "False"
                    && found["reason"] == "WeirIsUp"
                    && found["lastTransitionTime"].is_string()
            }))
        })
        .with_context(|| format!("round {round}:\n{}", agents[0].log()))?;
    }
    wait_for_no_write(&kubectl, &agents)?;
    ensure!(condition(&kubectl.node("node2")?).is_none(), "node2 was given the condition");

    // Conditions of other writers stay.
    kubectl.set_condition("node1", CONDITION, "False")?;
    kubectl.set_condition("node1", "Ready", "True")?;
    wait_for_no_write(&kubectl, &agents)?;
    let found = condition(&kubectl.node("node1")?).context("the condition is gone")?;
    ensure!(found["reason"] == "NoRouteCreated", "{found}");

    agents.into_iter().try_for_each(Agent::stop)
}

fn condition(node: &Value) -> Option<Value> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == CONDITION).cloned()
}

/// Checks that no Node has been written after two more periodic passes of each agent.
fn wait_for_no_write(kubectl: &Kubectl, agents: &[Agent]) -> Result<()> {
    let versions = || -> Result<Vec<Value>> {
        let names = ["node1", "node2", "node3"].into_iter();
        names.map(|name| Ok(kubectl.node(name)?["metadata"]["resourceVersion"].clone())).collect()
    };
    let before = versions()?;
    let resyncs: Vec<usize> = agents.iter().map(Agent::resyncs).collect();
    eventually("two more resyncs", TIMEOUT, || {
        Ok(agents.iter().zip(&resyncs).all(|(agent, before)| agent.resyncs() >= before + 2))
    })?;
    let after = versions()?;
    ensure!(before == after, "versions {before:?} became {after:?}");
    Ok(())
}

/// Waits until each machine has routes of both families to `peers` other nodes.
fn wait_for_peers(cluster: &TestCluster, agents: &[Agent], peers: usize) -> Result<()> {
    for (machine, agent) in cluster.machines.iter().zip(agents) {
        eventually("the agent has made its routes", TIMEOUT, || {
            ensure!(agent.is_running()?, "the agent ended");
            Ok(machine.routes()?.len() == 2 * peers && machine.fdb()?.len() == peers)
        })
        .with_context(|| format!("{:?}\n{}", machine.routes(), agent.log()))?;
    }
    Ok(())
}

/// Routes and FDB entries of each machine.
type State = Vec<[std::collections::BTreeSet<String>; 2]>;

fn state(cluster: &TestCluster) -> Result<State> {
    let machines = cluster.machines.iter();
    machines.map(|machine| Ok([machine.routes()?, machine.fdb()?])).collect()
}
