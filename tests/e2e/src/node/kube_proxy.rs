//! Upstream's kube-proxy, as a process of the node.

use anyhow::Result;

use crate::control_plane::certificates;
use crate::environment::Environment;
use crate::machine::Machine;
use crate::member::Member;
use crate::spec::{ClusterSpec, Proxy, ProxyMode};

const CONFIG: &str = "/etc/kubernetes/kube-proxy.yaml";
const KUBECONFIG: &str = "/etc/kubernetes/kube-proxy.conf";

/// Starts kube-proxy, unless Weir serves Services.
///
/// # Errors
/// When its credentials cannot be made.
pub(crate) fn start(
    environment: &Environment,
    hub: &Machine,
    node: &mut Member,
    spec: &ClusterSpec,
) -> Result<()> {
    if spec.proxy == Proxy::Weir {
        return Ok(());
    }
    let kubeconfig = certificates::kubeconfig(environment, hub, "system:kube-proxy", None)?;
    node.write(KUBECONFIG, &kubeconfig)?;
    node.write(CONFIG, &config(node.name(), spec))?;
    let flags = [format!("--config={CONFIG}"), format!("--hostname-override={}", node.name())];
    let program = environment.tool("kube-proxy")?;
    node.launch(environment, "kube-proxy", &program, &flags).map(drop)
}

fn config(node: &str, spec: &ClusterSpec) -> String {
    let mode = match spec.proxy_mode {
        ProxyMode::Nftables => "nftables",
        ProxyMode::Iptables => "iptables",
    };
    let pods = spec.ip_family.pod_cidrs();
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
hostnameOverride: {node}
clientConnection: {{kubeconfig: {KUBECONFIG}}}
clusterCIDR: '{pods}'
detectLocalMode: ClusterCIDR
# The conntrack table belongs to the host.
conntrack: {{maxPerCore: 0, min: 0}}
"
    )
}
