//! Weir, by the manifests that are shipped, and by nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::shape::{Mode, Proxy};
use crate::state::State;
use crate::wait;

const READY: Duration = Duration::from_secs(120);

/// Applies them.
///
/// # Errors
/// When the API server refuses them.
pub(super) fn deploy(environment: &Environment, state: &State) -> Result<()> {
    let folder = match (state.shape.mode, state.shape.proxy) {
        (Mode::Vxlan, Proxy::Upstream) => "base",
        (Mode::Vxlan, Proxy::Weir) => "overlays/services",
        (Mode::HostGw, Proxy::Upstream) => "overlays/host-gw",
        (Mode::HostGw, Proxy::Weir) => "overlays/services-host-gw",
    };
    let folder = environment.manifests()?.join(folder);
    let folder = folder.to_str().context("the manifests' path is no UTF-8")?;
    Kubectl::new(environment, state)?.run(&["apply", "-k", folder]).map(drop)
}

/// Waits until an agent is ready on every node.
///
/// # Errors
/// When one is not in time.
pub(crate) fn wait_for_agents(kubectl: &Kubectl) -> Result<()> {
    wait::until("all agents are ready", READY, || {
        let agents = kubectl.get(&["-n", "weir-system", "daemonset", "weir-agent"])?;
        let status = &agents["status"];
        let of = |key: &str| status[key].as_u64().unwrap_or(0);
        let is_current = status["observedGeneration"] == agents["metadata"]["generation"];
        let all = of("desiredNumberScheduled");
        ensure!(is_current && all > 0 && of("numberReady") == all, "{status}");
        Ok(())
    })
}
