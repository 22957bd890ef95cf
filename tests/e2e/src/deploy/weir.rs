//! Weir, deployed by the shipped manifests alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::spec::{Mode, Proxy};
use crate::state::State;
use crate::wait;

const READY: Duration = Duration::from_secs(120);

/// Applies the manifests.
///
/// # Errors
/// When the API server refuses one.
pub(super) fn deploy(environment: &Environment, state: &State) -> Result<()> {
    let folder = match (state.spec.mode, state.spec.proxy) {
        (Mode::Vxlan, Proxy::Upstream) => "base",
        (Mode::Vxlan, Proxy::Weir) => "overlays/services",
        (Mode::HostGw, Proxy::Upstream) => "overlays/host-gw",
        (Mode::HostGw, Proxy::Weir) => "overlays/services-host-gw",
    };
    let folder = environment.manifests()?.join(folder);
    let folder = folder.to_str().context("the manifests' path is not UTF-8")?;
    Kubectl::new(environment, state)?.run(&["apply", "-k", folder]).map(drop)
}

/// Waits until an agent is ready on every node.
///
/// # Errors
/// When an agent is not ready in time.
pub(crate) fn wait_for_agents(kubectl: &Kubectl) -> Result<()> {
    wait::until("all agents are ready", READY, || {
        let agents = kubectl.get(&["-n", "weir-system", "daemonset", "weir-agent"])?;
        let status = &agents["status"];
        let count = |key: &str| status[key].as_u64().unwrap_or(0);
        let is_current = status["observedGeneration"] == agents["metadata"]["generation"];
        let all = count("desiredNumberScheduled");
        ensure!(is_current && all > 0 && count("numberReady") == all, "{status}");
        Ok(())
    })
}
