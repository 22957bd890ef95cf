//! Certificates and kubeconfigs, made by kubeadm.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::environment::Environment;
use crate::machine::Machine;
use crate::process;
use crate::spec::{API_PORT, ClusterSpec};

/// Makes the certificates and kubeconfigs of the control plane.
///
/// # Errors
/// When kubeadm fails.
pub(crate) fn make(environment: &Environment, hub: &Machine, spec: &ClusterSpec) -> Result<()> {
    let dir = environment.state()?;
    let kubeadm = environment.tool("kubeadm")?;
    let version = process::output(hub.command(&kubeadm)?.args(["version", "-o", "short"]))?;
    let text = config(dir, spec, version.trim())?;
    let path = config_path(dir);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    let kubeconfigs = dir.join("kubeconfigs");
    let phase = |words: &[&str]| -> Result<()> {
        let mut command = hub.command(&kubeadm)?;
        command.args(["init", "phase"]).args(words).arg("--config").arg(&path);
        if words.first() == Some(&"kubeconfig") {
            command.arg("--kubeconfig-dir").arg(&kubeconfigs);
        }
        process::output(&mut command).map(drop)
    };
    for certificate in [
        "ca",
        "apiserver",
        "apiserver-kubelet-client",
        "front-proxy-ca",
        "front-proxy-client",
        "sa",
    ] {
        phase(&["certs", certificate])?;
    }
    for user in ["super-admin", "controller-manager", "scheduler"] {
        phase(&["kubeconfig", user])?;
    }
    Ok(())
}

/// A kubeconfig with a client certificate for a user.
///
/// # Errors
/// When kubeadm fails.
pub(crate) fn kubeconfig(
    environment: &Environment,
    hub: &Machine,
    user: &str,
    group: Option<&str>,
) -> Result<String> {
    let mut command = hub.command(environment.tool("kubeadm")?)?;
    command.args(["kubeconfig", "user", "--client-name", user]);
    command.args(group.map(|group| format!("--org={group}")));
    command.arg("--config").arg(config_path(environment.state()?));
    process::output(&mut command)
}

/// The manifests of CoreDNS as kubeadm would deploy them.
///
/// # Errors
/// When kubeadm fails.
pub(crate) fn dns_manifests(environment: &Environment, hub: &Machine) -> Result<String> {
    let mut command = hub.command(environment.tool("kubeadm")?)?;
    command.args(["init", "phase", "addon", "coredns", "--print-manifest", "--config"]);
    process::output(command.arg(config_path(environment.state()?)))
}

/// The API server's address.
///
/// # Errors
/// When the hub has no address.
pub(crate) fn server_address(spec: &ClusterSpec) -> Result<IpAddr> {
    spec.ip_family.hub().first().copied().context("the hub has no address")
}

fn config_path(dir: &Path) -> PathBuf {
    dir.join("kubeadm.yaml")
}

fn config(dir: &Path, spec: &ClusterSpec, version: &str) -> Result<String> {
    let (address, pki) = (server_address(spec)?, dir.join("pki"));
    let (pods, services) = (spec.ip_family.pod_cidrs(), spec.ip_family.service_cidrs());
    Ok(format!(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: '{address}', bindPort: {API_PORT}}}
nodeRegistration: {{name: hub, criSocket: 'unix:///run/containerd/containerd.sock'}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
certificatesDir: {pki}
encryptionAlgorithm: ECDSA-P256
networking: {{podSubnet: '{pods}', serviceSubnet: '{services}', dnsDomain: cluster.local}}
",
        pki = pki.display()
    ))
}
