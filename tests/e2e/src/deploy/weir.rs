//! Weir, by the manifests that are shipped, and by nothing else.

use anyhow::{Context, Result};

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::shape::{Mode, Proxy};
use crate::state::State;

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
