//! Deploying the pod network and cluster DNS on nodes that have neither.

mod dns;
mod reference;
mod weir;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) use dns::deploy as deploy_dns;
pub(crate) use dns::wait as wait_for_dns;
pub(crate) use weir::wait_for_agents;

use crate::environment::Environment;
use crate::kubectl::{Kubectl, condition};
use crate::spec::Cni;
use crate::state::State;
use crate::underlay;
use crate::wait;

const REGISTERED: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(120);

/// Deploys the pod network.
///
/// # Errors
/// When the API server refuses it.
pub(crate) fn deploy_network(environment: &Environment, state: &State) -> Result<()> {
    match state.spec.cni {
        Cni::Weir => weir::deploy(environment, state),
        Cni::Reference => reference::deploy(environment, state),
    }
}

/// Waits until the nodes have their subnets, and adds routes to them on the hub.
///
/// # Errors
/// When a node gets none in time.
pub(crate) fn route_to_pods(environment: &Environment, state: &State) -> Result<()> {
    let subnets = wait::until("each node has a subnet", REGISTERED, || {
        let subnets = Kubectl::new(environment, state)?.pod_cidrs()?;
        let missing = state.nodes.iter().find(|node| !subnets.contains_key(node.name()));
        ensure!(missing.is_none(), "{} has none", missing.map_or("", |node| node.name()));
        Ok(subnets)
    })?;
    for node in &state.nodes {
        for subnet in &subnets[node.name()] {
            underlay::route(&state.hub()?.machine, subnet, &node.addresses)?;
        }
    }
    Ok(())
}

/// Waits until all nodes are Ready.
///
/// # Errors
/// When a node is not Ready in time; the error has the message of its condition.
pub(crate) fn wait_ready(environment: &Environment, state: &State) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    let names: Vec<_> = state.nodes.iter().map(|node| node.name()).collect();
    wait::until("all nodes are Ready", READY, || {
        let nodes = kubectl.list(&["nodes"])?;
        for name in &names {
            let node = nodes.iter().find(|node| node["metadata"]["name"] == *name);
            let node = node.with_context(|| format!("{name} has not registered"))?;
            let condition = condition(node, "Ready").unwrap_or(&Value::Null);
            let message = condition["message"].as_str().unwrap_or("it has no condition yet");
            ensure!(condition["status"] == "True", "{name} is not Ready: {message}");
        }
        Ok(())
    })
}
