//! Upstream's kube-proxy, as a process of the node.

use anyhow::Result;

use super::{launch, write};
use crate::control_plane::certificates;
use crate::environment::Environment;
use crate::place::Place;
use crate::shape::{Proxy, ProxyMode, Shape};
use crate::state::Machine;

const CONFIG: &str = "/etc/kubernetes/kube-proxy.yaml";
const KUBECONFIG: &str = "/etc/kubernetes/kube-proxy.conf";

/// Starts it, unless Weir serves Services.
///
/// # Errors
/// When its credentials cannot be made.
pub(crate) fn start(
    environment: &Environment,
    hub: &Place,
    node: &mut Machine,
    shape: &Shape,
) -> Result<()> {
    if shape.proxy == Proxy::Weir {
        return Ok(());
    }
    let kubeconfig = certificates::kubeconfig(environment, hub, "system:kube-proxy", None)?;
    write(node, KUBECONFIG, &kubeconfig)?;
    write(node, CONFIG, &config(node.name(), shape))?;
    let flags = [format!("--config={CONFIG}"), format!("--hostname-override={}", node.name())];
    let program = environment.tool("kube-proxy")?;
    launch(environment, node, "kube-proxy", &program, &flags).map(drop)
}

fn config(node: &str, shape: &Shape) -> String {
    let mode = match shape.proxy_mode {
        ProxyMode::Nftables => "nftables",
        ProxyMode::Iptables => "iptables",
    };
    let pods = shape.ip_family.pod_cidrs();
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
hostnameOverride: {node}
clientConnection: {{kubeconfig: {KUBECONFIG}}}
clusterCIDR: '{pods}'
detectLocalMode: ClusterCIDR
# The size of the table is the machine's.
conntrack: {{maxPerCore: 0, min: 0}}
"
    )
}
