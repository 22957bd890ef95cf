//! The requirements of a cluster, checked before anything starts.

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

use crate::environment::Environment;

/// Programs that `cargo xtask e2e` builds.
const TOOLS: [&str; 9] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "kubeadm",
    "coredns",
];
/// Programs of the host.
const PROGRAMS: [&str; 9] =
    ["containerd", "ctr", "runc", "ip", "nft", "iptables", "nsenter", "unshare", "mount"];

/// Checks all requirements.
///
/// # Errors
/// When some are not met; the error lists them all.
pub(crate) fn check(environment: &Environment) -> Result<()> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root's rights".to_owned());
    }
    missing.extend(
        TOOLS.iter().filter_map(|tool| environment.tool(tool).err()).map(|e| e.to_string()),
    );
    missing.extend(
        PROGRAMS.iter().filter(|name| !on_path(name)).map(|name| format!("the program {name}")),
    );
    let loopback = Path::new("/usr/lib/cni/loopback");
    if !loopback.exists() {
        missing.push(format!("{} (containernetworking-plugins)", loopback.display()));
    }
    for system in ["overlay", "bpf", "cgroup2"] {
        if !filesystems().iter().any(|known| known == system) {
            missing.push(format!("the file system {system} in the kernel"));
        }
    }
    missing.extend(environment.manifests().err().map(|error| error.to_string()));
    missing.extend(environment.images().err().map(|error| error.to_string()));
    if !missing.is_empty() {
        bail!("this is missing:\n  {}", missing.join("\n  "));
    }
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn filesystems() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}
