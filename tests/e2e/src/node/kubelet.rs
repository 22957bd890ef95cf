//! The kubelet of a node.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{launch, write};
use crate::control_plane::certificates;
use crate::environment::Environment;
use crate::place::Place;
use crate::process;
use crate::shape::{Shape, joined};
use crate::state::{Machine, log};
use crate::wait;

const CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// Where kubeadm puts it, and where Weir's agent looks for the API server's address.
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";
const HEALTH: &str = "http://127.0.0.1:10248/healthz";
const READY: Duration = Duration::from_secs(60);

/// Writes what it reads.
///
/// # Errors
/// When its credentials cannot be made.
pub(super) fn configure(
    environment: &Environment,
    hub: &Place,
    node: &Machine,
    shape: &Shape,
) -> Result<()> {
    let authority = environment.state()?.join("pki/ca.crt");
    let authority =
        fs::read_to_string(&authority).with_context(|| format!("read {}", authority.display()))?;
    write(node, AUTHORITY, &authority)?;
    let user = format!("system:node:{}", node.name());
    let kubeconfig = certificates::kubeconfig(environment, hub, &user, Some("system:nodes"))?;
    write(node, KUBECONFIG, &kubeconfig)?;
    write(node, CONFIG, &config(shape))
}

/// Starts it and waits until it answers. One that ends because the container runtime is not ready yet
/// is started again, as an init system would.
///
/// # Errors
/// When there is no kubelet, or it does not answer; the error holds the end of its log.
pub(super) fn start(environment: &Environment, node: &mut Machine) -> Result<()> {
    let flags = [
        format!("--config={CONFIG}"),
        format!("--kubeconfig={KUBECONFIG}"),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", joined(&node.addresses)),
        format!("--node-labels=topology.kubernetes.io/zone=zone{}", node.number),
        "--root-dir=/var/lib/kubelet".to_owned(),
    ];
    let program = environment.tool("kubelet")?;
    let log = log(environment.state()?, node.name(), "kubelet");
    let mut process = launch(environment, node, "kubelet", &program, &flags)?;
    wait::until("the kubelet answers", READY, || {
        if !process.is_alive() {
            process = launch(environment, node, "kubelet", &program, &flags)?;
        }
        process::output(node.place.command("curl")?.args(["--silent", "--fail", HEALTH])).map(drop)
    })
    .with_context(|| process::log_tail(&log))
}

fn config(shape: &Shape) -> String {
    let dns = shape.ip_family.dns();
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
# The version of cgroups is the machine's.
failCgroupV1: false
failSwapOn: false
# Images cannot be pulled again, and the disk is the machine's.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {{memory.available: 0%, nodefs.available: 0%, imagefs.available: 0%}}
maxPods: 110
rotateCertificates: false
"
    )
}
