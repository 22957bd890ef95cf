//! Agents against a real API server: `cargo xtask e2e api`.
//!
//! One test, because a control plane takes longer to start than all of this to check; each function
//! is a sentence about the agents and leaves the scene to the next.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_api_tests::{Agent, Kubectl, Scene};
use weir_tests::lab::eventually;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
const CONDITION: &str = "NetworkUnavailable";

#[test]
fn agents_follow_a_real_api_server() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.create_nodes()?;
    the_world_is_the_same_as_from_a_directory(&scene).context("same world")?;
    agents_outlive_the_api_server_and_follow_it_to_another_world(&mut scene)
        .context("server away and back")?;
    a_cluster_that_is_restored_from_a_backup_is_believed(&mut scene).context("restored")?;
    a_node_that_has_a_network_is_said_to_have_one(&scene).context("condition")?;
    services_are_followed_but_for_those_of_another_proxy(&scene).context("services")?;
    a_denied_verb_is_a_clear_error(&scene).context("denied verb")
}

fn the_world_is_the_same_as_from_a_directory(scene: &Scene) -> Result<()> {
    let agents = scene.start_agents()?;
    have_peers(scene, &agents, 2)?;
    let from_api = state(scene)?;
    for agent in agents {
        agent.stop()?;
    }
    for machine in &scene.machines {
        // Nothing of the first agent can pass for what the second one made.
        machine.forget_routes()?;
    }
    let agents = scene.start_agents_from_directory()?;
    have_peers(scene, &agents, 2)?;
    let from_directory = state(scene)?;
    ensure!(from_api == from_directory, "{from_api:#?}\nis not\n{from_directory:#?}");
    agents.into_iter().try_for_each(Agent::stop)
}

fn agents_outlive_the_api_server_and_follow_it_to_another_world(scene: &mut Scene) -> Result<()> {
    let agents = scene.start_agents()?;
    have_peers(scene, &agents, 2)?;
    let before = state(scene)?;

    scene.plane.kill_api_server();
    eventually("the agents say that the API server is away", PATIENCE, || {
        Ok(agents.iter().all(|agent| agent.log().contains("has not been reachable since")))
    })?;
    ensure!(state(scene)? == before, "the network changed while the API server was away");

    scene.plane.change_hidden(|kubectl| {
        kubectl.run(&["delete", "node", "node3"])?;
        kubectl.set_address("node2", "172.31.77.22")
    })?;
    scene.plane.restart()?;
    eventually("the agents know the other world", PATIENCE, || {
        let routes = scene.machines[0].routes()?;
        let forwarding = scene.machines[0].forwarding()?;
        let moved = forwarding.iter().any(|entry| entry.contains("dst 172.31.77.22"));
        Ok(routes.len() == 2 && moved)
    })
    .with_context(|| agents[0].log())?;
    scene.plane.kubectl().create_node("node3", "172.31.77.13")?;
    scene.plane.kubectl().set_address("node2", "172.31.77.12")?;
    have_peers(scene, &agents, 2)?;
    agents.into_iter().try_for_each(Agent::stop)
}

/// Its versions are lower than those that the agents have seen: a watch from there would be silent.
fn a_cluster_that_is_restored_from_a_backup_is_believed(scene: &mut Scene) -> Result<()> {
    scene.plane.save_state()?;
    let agents = scene.start_agents()?;
    have_peers(scene, &agents, 2)?;
    let saved = state(scene)?;
    // Others write too, and move the count of versions on.
    for address in ["172.31.77.23", "172.31.77.24", "172.31.77.22"] {
        for _ in 0..5 {
            scene.plane.kubectl().set_address("node2", "172.31.77.21")?;
            scene.plane.kubectl().set_address("node2", address)?;
        }
    }
    eventually("the agents follow", PATIENCE, || Ok(state(scene)? != saved))?;
    scene.plane.restore_state()?;
    eventually("the agents are back at the saved state", PATIENCE, || Ok(state(scene)? == saved))
        .with_context(|| agents[0].log())?;
    agents.into_iter().try_for_each(Agent::stop)
}

/// A Service without a selector, whose endpoints nobody else writes.
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

/// At first there is the API server's own Service.
fn services_are_followed_but_for_those_of_another_proxy(scene: &Scene) -> Result<()> {
    let kubectl = scene.plane.kubectl();
    let manifest = Path::new(env!("CARGO_TARGET_TMPDIR")).join("service.yaml");
    fs::write(&manifest, SERVICE)?;
    let manifest = manifest.to_str().context("the target directory's path is no UTF-8")?;
    let agents = scene.start_agents()?;
    let know = |services: usize, slices: usize| {
        let known = format!("services={services} slices={slices}");
        eventually(&format!("the agents know {known}"), PATIENCE, || {
            let last = |log: String| {
                let mut worlds =
                    log.lines().filter(|line| line.contains("the cluster has changed"));
                worlds.next_back().is_some_and(|line| line.contains(&known))
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

fn a_denied_verb_is_a_clear_error(scene: &Scene) -> Result<()> {
    let kubectl = scene.plane.kubectl();
    kubectl.run(&["delete", "clusterrolebinding", "weir-agent"])?;
    let agents = scene.start_agents()?;
    eventually("the agents say which verb is denied", PATIENCE, || {
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
    scene.apply_manifests()?;
    have_peers(scene, &agents, 2)?;
    eventually("the agents say that it is over", PATIENCE, || {
        Ok(agents.iter().all(|agent| agent.log().contains("known in full again")))
    })?;
    agents.into_iter().try_for_each(Agent::stop)
}

fn a_node_that_has_a_network_is_said_to_have_one(scene: &Scene) -> Result<()> {
    let kubectl = scene.plane.kubectl();
    let agents = scene.start_agents()?;
    have_peers(scene, &agents, 2)?;
    for round in 1..=2 {
        kubectl.set_condition("node1", CONDITION, "True")?;
        eventually("the condition is False", PATIENCE, || {
            let found = condition(&kubectl.node("node1")?);
            Ok(found.is_some_and(|found| {
                found["status"] == "False"
                    && found["reason"] == "WeirIsUp"
                    && found["lastTransitionTime"].is_string()
            }))
        })
        .with_context(|| format!("round {round}:\n{}", agents[0].log()))?;
    }
    nothing_is_written(&kubectl, &agents)?;
    ensure!(condition(&kubectl.node("node2")?).is_none(), "node2 was given the condition");

    // What others wrote stays.
    kubectl.set_condition("node1", CONDITION, "False")?;
    kubectl.set_condition("node1", "Ready", "True")?;
    nothing_is_written(&kubectl, &agents)?;
    let found = condition(&kubectl.node("node1")?).context("it is gone")?;
    ensure!(found["reason"] == "NoRouteCreated", "{found}");

    let without = r#"[{"op": "test", "path": "/rules/1/resources", "value": ["nodes/status"]},
        {"op": "remove", "path": "/rules/1"}]"#;
    kubectl.run(&["patch", "clusterrole", "weir-agent", "--type=json", "-p", without])?;
    kubectl.set_condition("node1", CONDITION, "True")?;
    eventually("the agent says which verb is denied", PATIENCE, || {
        let log = agents[0].log();
        Ok(log.contains("denied the verb `patch` on `nodes/status`")
            && log.contains("manifests/base/cluster-role.yaml"))
    })
    .with_context(|| agents[0].log())?;
    scene.apply_manifests()?;
    eventually("the condition is False again", PATIENCE, || {
        Ok(condition(&kubectl.node("node1")?).is_some_and(|found| found["status"] == "False"))
    })
    .with_context(|| agents[0].log())?;
    agents.into_iter().try_for_each(Agent::stop)
}

fn condition(node: &Value) -> Option<Value> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == CONDITION).cloned()
}

/// That the Nodes are the same after two more looks at everything.
fn nothing_is_written(kubectl: &Kubectl, agents: &[Agent]) -> Result<()> {
    let versions = || -> Result<Vec<Value>> {
        let names = ["node1", "node2", "node3"].into_iter();
        names.map(|name| Ok(kubectl.node(name)?["metadata"]["resourceVersion"].clone())).collect()
    };
    let before = versions()?;
    let resyncs: Vec<usize> = agents.iter().map(Agent::resyncs).collect();
    eventually("two more resyncs", PATIENCE, || {
        Ok(agents.iter().zip(&resyncs).all(|(agent, before)| agent.resyncs() >= before + 2))
    })?;
    let after = versions()?;
    ensure!(before == after, "versions {before:?} became {after:?}");
    Ok(())
}

/// Waits until each machine has routes of both families to `peers` others.
fn have_peers(scene: &Scene, agents: &[Agent], peers: usize) -> Result<()> {
    for (machine, agent) in scene.machines.iter().zip(agents) {
        eventually("the agent made its routes", PATIENCE, || {
            ensure!(agent.is_running()?, "it ended");
            Ok(machine.routes()?.len() == 2 * peers && machine.forwarding()?.len() == peers)
        })
        .with_context(|| format!("{:?}\n{}", machine.routes(), agent.log()))?;
    }
    Ok(())
}

type State = Vec<[std::collections::BTreeSet<String>; 2]>;

fn state(scene: &Scene) -> Result<State> {
    let machines = scene.machines.iter();
    machines.map(|machine| Ok([machine.routes()?, machine.forwarding()?])).collect()
}
