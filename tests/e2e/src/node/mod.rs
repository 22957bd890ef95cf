//! A node: a machine with a container runtime, a kubelet and kube-proxy.

mod containerd;
mod images;
mod kube_proxy;
mod kubelet;
mod mounts;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

pub(crate) use images::import as import_images;
pub(crate) use kube_proxy::start as start_proxy;
pub(crate) use mounts::Boot;

use crate::environment::Environment;
use crate::machine::{Machine, cgroup};
use crate::member::Member;
use crate::process::Process;
use crate::spec::{ClusterSpec, Cni};
use crate::state::State;
use crate::underlay;
use crate::wait;

/// Where Debian installs the reference plugins.
const REFERENCE_PLUGINS: &str = "/usr/lib/cni";
const TIMEOUT: Duration = Duration::from_secs(20);

/// The name of a node.
fn name(number: u8) -> String {
    format!("node{number}")
}

/// The folder of a node's files that survive a boot.
fn disk(dir: &Path, name: &str) -> PathBuf {
    dir.join("nodes").join(name)
}

/// Makes a node and starts its container runtime.
///
/// # Errors
/// When the kernel refuses a step, or the runtime does not start.
pub(crate) fn boot(
    environment: &Environment,
    hub: &Member,
    number: u8,
    spec: &ClusterSpec,
    boot: Boot,
) -> Result<Member> {
    let name = name(number);
    let disk = disk(environment.state()?, &name);
    let addresses = spec.ip_family.node(number);
    let machine = Machine::create(&name)?;
    mounts::mount(&machine, &disk, boot).context("make the node's mounts")?;
    underlay::connect(&hub.machine, &machine, number, &addresses, &hub.addresses)?;
    let mut node = Member { machine, number, addresses, programs: Default::default() };
    write_resolv_conf(&node, hub)?;
    install_plugins(&node, spec)?;
    containerd::start(environment, &mut node)?;
    Ok(node)
}

/// Starts the kubelet, which registers the node.
///
/// # Errors
/// When its credentials cannot be made.
pub(crate) fn start_kubelet(
    environment: &Environment,
    hub: &Member,
    node: &mut Member,
    spec: &ClusterSpec,
) -> Result<()> {
    kubelet::configure(environment, &hub.machine, node, spec)?;
    kubelet::start(environment, node)
}

/// Ends a program of a node and starts it again.
///
/// # Errors
/// When it does not end, or does not start again.
pub(crate) fn restart(environment: &Environment, node: &mut Member, name: &str) -> Result<()> {
    let process = node.program(name)?;
    process.signal(Signal::TERM)?;
    wait::holds(&format!("{name} has ended"), TIMEOUT, || Ok(!process.is_alive()))?;
    match name {
        "containerd" => containerd::start(environment, node),
        "kubelet" => kubelet::start(environment, node),
        _ => anyhow::bail!("{name} is not restarted alone"),
    }
}

/// Powers a node off: all its processes end, and its namespaces with them.
///
/// # Errors
/// When a process or a cgroup stays.
pub(crate) fn power_off(node: &Member) -> Result<()> {
    cgroup::destroy(Some(node.name()))
}

/// Boots a node that was powered off, with its disk as it was. `prepare` is called before the
/// kubelet starts, and thus before any pod.
///
/// # Errors
/// When a step fails.
pub(crate) fn boot_again(
    environment: &Environment,
    state: &mut State,
    index: usize,
    prepare: impl FnOnce(&Member) -> Result<()>,
) -> Result<()> {
    let (spec, hub) = (state.spec, state.hub()?.clone());
    let number = state.nodes.get(index).context("there is no such node")?.number;
    let mut node = boot(environment, &hub, number, &spec, Boot::Again)?;
    prepare(&node)?;
    start_kubelet(environment, &hub, &mut node, &spec)?;
    start_proxy(environment, &hub.machine, &mut node, &spec)?;
    state.nodes[index] = node;
    state.save(environment)
}

/// The agent on a node, if it runs. Agents of other clusters on this host are ignored.
///
/// # Errors
/// When no cgroups are mounted.
pub(crate) fn agent(node: &Member) -> Result<Option<Process>> {
    let is_agent = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "weir-agent"
    };
    let pid = cgroup::members(node.name())?.into_iter().find(is_agent);
    Ok(pid.and_then(|pid| Process::of(pid).ok()))
}

fn write_resolv_conf(node: &Member, hub: &Member) -> Result<()> {
    let lines = hub.addresses.iter().map(|address| format!("nameserver {address}\n"));
    node.write("/etc/resolv.conf", &lines.collect::<String>())
}

/// With Weir, a node has the loopback plugin only: Weir's manifests install the rest.
fn install_plugins(node: &Member, spec: &ClusterSpec) -> Result<()> {
    let plugins: &[&str] = match spec.cni {
        Cni::Weir => &["loopback"],
        Cni::Reference => &["loopback", "bridge", "host-local", "portmap"],
    };
    let folder = node.machine.path_from_outside("/opt/cni/bin");
    fs::create_dir_all(&folder).context("create /opt/cni/bin")?;
    for plugin in plugins {
        let original = Path::new(REFERENCE_PLUGINS).join(plugin);
        fs::copy(&original, folder.join(plugin))
            .with_context(|| format!("copy {}", original.display()))?;
    }
    Ok(())
}
