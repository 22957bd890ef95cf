//! Cluster DNS: CoreDNS as kubeadm deploys it, with the imported image.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::control_plane::certificates;
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::process;
use crate::state::State;
use crate::wait;

const READY: Duration = Duration::from_secs(120);

/// Deploys CoreDNS.
///
/// # Errors
/// When its image has not been imported, or the API server refuses a manifest.
pub(crate) fn deploy(environment: &Environment, state: &State) -> Result<()> {
    let manifests = certificates::dns_manifests(environment, &state.hub()?.machine)?;
    let image = image(state)?;
    let lines = manifests.lines().map(|line| match line.split_once("image: ") {
        Some((indent, name)) if name.contains("coredns") => format!("{indent}image: {image}\n"),
        _ => format!("{line}\n"),
    });
    Kubectl::new(environment, state)?.apply(&lines.collect::<String>())
}

/// Waits until all pods of CoreDNS are ready.
///
/// # Errors
/// When they are not ready in time.
pub(crate) fn wait(environment: &Environment, state: &State) -> Result<()> {
    let kubectl = Kubectl::new(environment, state)?;
    wait::until("CoreDNS is ready", READY, || {
        let deployment = kubectl.get(&["-n", "kube-system", "deployment", "coredns"])?;
        let (wanted, ready) =
            (&deployment["spec"]["replicas"], &deployment["status"]["readyReplicas"]);
        ensure!(wanted == ready, "{ready} of {wanted} pods are ready");
        Ok(())
    })
    .with_context(|| kubectl.run(&["get", "pods", "-A", "-o", "wide"]).unwrap_or_default())
}

/// The name of CoreDNS' image on the nodes.
fn image(state: &State) -> Result<String> {
    let node = state.nodes.first().context("the cluster has no nodes")?;
    let mut ctr = node.machine.command("ctr")?;
    let images = process::output(ctr.args(["-n", "k8s.io", "images", "list", "-q"]))?;
    let found = images.lines().find(|name| name.contains("/coredns:"));
    found.map(str::to_owned).context("no image of CoreDNS has been imported")
}
