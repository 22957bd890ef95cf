//! The kubelet of a node.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control_plane::certificates;
use crate::environment::Environment;
use crate::machine::Machine;
use crate::member::Member;
use crate::process;
use crate::spec::{ClusterSpec, join_addresses};
use crate::wait;

const CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// kubeadm's path, in which Weir's agent looks for the API server's address.
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";
const HEALTH: &str = "http://127.0.0.1:10248/healthz";
const READY: Duration = Duration::from_secs(60);

/// Writes the kubelet's configuration and credentials.
///
/// # Errors
/// When its credentials cannot be made.
pub(super) fn configure(
    environment: &Environment,
    hub: &Machine,
    node: &Member,
    spec: &ClusterSpec,
) -> Result<()> {
    let authority = environment.state()?.join("pki/ca.crt");
    let authority =
        fs::read_to_string(&authority).with_context(|| format!("read {}", authority.display()))?;
    node.write(AUTHORITY, &authority)?;
    let user = format!("system:node:{}", node.name());
    let kubeconfig = certificates::kubeconfig(environment, hub, &user, Some("system:nodes"))?;
    node.write(KUBECONFIG, &kubeconfig)?;
    node.write(CONFIG, &config(spec))
}

/// Starts the kubelet and waits until it is healthy. A kubelet that ends because the container
/// runtime is not ready yet is started again, as an init system would.
///
/// # Errors
/// When there is no kubelet, or it does not get healthy; the error has the end of its log.
pub(super) fn start(environment: &Environment, node: &mut Member) -> Result<()> {
    let flags = [
        format!("--config={CONFIG}"),
        format!("--kubeconfig={KUBECONFIG}"),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", join_addresses(&node.addresses)),
        format!("--node-labels=topology.kubernetes.io/zone=zone{}", node.number),
        "--root-dir=/var/lib/kubelet".to_owned(),
    ];
    let program = environment.tool("kubelet")?;
    let log = node.log(environment, "kubelet")?;
    let mut process = node.launch(environment, "kubelet", &program, &flags)?;
    wait::until("the kubelet is healthy", READY, || {
        if !process.is_alive() {
            process = node.launch(environment, "kubelet", &program, &flags)?;
        }
        process::output(node.machine.command("curl")?.args(["--silent", "--fail", HEALTH]))
            .map(drop)
    })
    .with_context(|| process::log_tail(&log))
}

fn config(spec: &ClusterSpec) -> String {
    let dns = spec.ip_family.dns();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {AUTHORITY}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
clusterDNS: ['{dns}']
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: /etc/resolv.conf
# The version of cgroups is the host's.
failCgroupV1: false
failSwapOn: false
# Images cannot be pulled again, and the disk is the host's.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {{memory.available: 0%, nodefs.available: 0%, imagefs.available: 0%}}
maxPods: 110
rotateCertificates: false
"
    )
}
