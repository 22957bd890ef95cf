//! What is deployed on a cluster of bare nodes: its pod network and its DNS.

mod dns;
mod reference;
mod weir;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) use dns::deploy as deploy_dns;
pub(crate) use dns::wait as wait_for_dns;
pub(crate) use weir::wait_for_agents;

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::shape::Cni;
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
    match state.shape.cni {
        Cni::Weir => weir::deploy(environment, state),
        Cni::Reference => reference::deploy(environment, state),
    }
}

/// Waits until the nodes have their subnets, and tells the hub the way to them.
///
/// # Errors
/// When they do not get them.
pub(crate) fn route_to_pods(environment: &Environment, state: &State) -> Result<()> {
    let subnets = wait::until("each node has a subnet", REGISTERED, || {
        let subnets = pod_cidrs(&Kubectl::new(environment, state)?)?;
        let missing = state.nodes.iter().find(|node| !subnets.contains_key(node.name()));
        ensure!(missing.is_none(), "{} has none", missing.map_or("", |node| node.name()));
        Ok(subnets)
    })?;
    for node in &state.nodes {
        for subnet in &subnets[node.name()] {
            underlay::route(&state.hub()?.place, subnet, &node.addresses)?;
        }
    }
    Ok(())
}

/// The subnets of the nodes that have them.
///
/// # Errors
/// When the API server does not tell.
pub(crate) fn pod_cidrs(kubectl: &Kubectl) -> Result<BTreeMap<String, Vec<String>>> {
    let nodes = kubectl.list(&["nodes"])?;
    let subnets = nodes.iter().filter_map(|node| {
        let name = node["metadata"]["name"].as_str()?.to_owned();
        let cidrs = node["spec"]["podCIDRs"].as_array()?;
        Some((name, cidrs.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
    });
    Ok(subnets.collect())
}

/// Waits until all nodes are Ready.
///
/// # Errors
/// When one is not in time; the error has what it says of itself.
pub(crate) fn wait_ready(environment: &Environment, state: &State) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    let names: Vec<_> = state.nodes.iter().map(|node| node.name()).collect();
    wait::until("all nodes are Ready", READY, || {
        let nodes = kubectl.list(&["nodes"])?;
        for name in &names {
            let node = nodes.iter().find(|node| node["metadata"]["name"] == *name);
            let node = node.with_context(|| format!("{name} has not registered"))?;
            let condition = condition(node, "Ready").unwrap_or(&Value::Null);
            let message = condition["message"].as_str().unwrap_or("nothing said yet");
            ensure!(condition["status"] == "True", "{name} is not Ready: {message}");
        }
        Ok(())
    })
}

/// A condition in an object's status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == kind)
}
