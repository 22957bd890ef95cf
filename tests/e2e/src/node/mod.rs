//! A node: a place with a container runtime, a kubelet and kube-proxy.

mod containerd;
mod images;
mod kube_proxy;
mod kubelet;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

pub(crate) use images::import as import_images;
pub(crate) use kube_proxy::start as start_proxy;

use crate::environment::Environment;
use crate::place::{self, Boot, Place, cgroup};
use crate::process::Process;
use crate::shape::{Cni, Shape};
use crate::state::{Machine, State, log};
use crate::underlay;
use crate::wait;

/// Where Debian has the reference plugins.
const REFERENCE_PLUGINS: &str = "/usr/lib/cni";
const ENDED: Duration = Duration::from_secs(20);

/// The name of a node.
pub(crate) fn name(number: u8) -> String {
    format!("node{number}")
}

/// What survives a node's boots.
pub(crate) fn disk(dir: &Path, name: &str) -> PathBuf {
    dir.join("nodes").join(name)
}

/// Makes a node and starts its container runtime.
///
/// # Errors
/// When the kernel refuses something, or the runtime does not come up.
pub(crate) fn boot(
    environment: &Environment,
    hub: &Machine,
    number: u8,
    shape: &Shape,
    boot: Boot,
) -> Result<Machine> {
    let name = name(number);
    let disk = disk(environment.state()?, &name);
    let addresses = shape.ip_family.node(number);
    let place = Place::create(&name)?;
    place::mount(&place, &disk, boot).context("mount what is the node's own")?;
    underlay::connect(&hub.place, &place, number, &addresses, &hub.addresses)?;
    let mut node = Machine { place, number, addresses, programs: Default::default() };
    write_resolv_conf(&node, hub)?;
    install_plugins(&node, shape)?;
    containerd::start(environment, &mut node)?;
    Ok(node)
}

/// Starts the kubelet, which makes the node known to the cluster.
///
/// # Errors
/// When its credentials cannot be made.
pub(crate) fn start_kubelet(
    environment: &Environment,
    hub: &Machine,
    node: &mut Machine,
    shape: &Shape,
) -> Result<()> {
    kubelet::configure(environment, &hub.place, node, shape)?;
    kubelet::start(environment, node)
}

/// Ends a program of a node and starts it again.
///
/// # Errors
/// When it does not end, or not start.
pub(crate) fn restart(environment: &Environment, node: &mut Machine, name: &str) -> Result<()> {
    let process = node.program(name)?;
    process.signal(Signal::TERM)?;
    wait::holds(&format!("{name} has ended"), ENDED, || Ok(!process.is_alive()))?;
    match name {
        "containerd" => containerd::start(environment, node),
        "kubelet" => kubelet::start(environment, node),
        _ => anyhow::bail!("{name} is not restarted alone"),
    }
}

/// Takes a node's power: every process of it ends, and with them its namespaces.
///
/// # Errors
/// When something stays.
pub(crate) fn power_off(node: &Machine) -> Result<()> {
    cgroup::destroy(Some(node.name()))
}

/// Boots a node that has no power, with its disk as it was. `prepare` is called before the kubelet
/// starts, and with it everything that the node's pods are.
///
/// # Errors
/// When a step of it fails.
pub(crate) fn boot_again(
    environment: &Environment,
    state: &mut State,
    index: usize,
    prepare: impl FnOnce(&Machine) -> Result<()>,
) -> Result<()> {
    let (shape, hub) = (state.shape, state.hub()?.clone());
    let number = state.nodes.get(index).context("there is no such node")?.number;
    let mut node = boot(environment, &hub, number, &shape, Boot::Again)?;
    prepare(&node)?;
    start_kubelet(environment, &hub, &mut node, &shape)?;
    start_proxy(environment, &hub.place, &mut node, &shape)?;
    state.nodes[index] = node;
    state.save(environment)
}

/// The agent on a node, if it runs. The machine may run agents of others.
///
/// # Errors
/// When no cgroups are mounted.
pub(crate) fn agent(node: &Machine) -> Result<Option<Process>> {
    let is_agent = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "weir-agent"
    };
    let pid = cgroup::members(node.name())?.into_iter().find(is_agent);
    Ok(pid.and_then(|pid| Process::of(pid).ok()))
}

fn launch(
    environment: &Environment,
    node: &mut Machine,
    name: &str,
    program: &Path,
    arguments: &[String],
) -> Result<Process> {
    let log = log(environment.state()?, node.name(), name);
    let mut command = node.place.command(program)?;
    let process = Place::start(command.args(arguments), &log)?;
    node.programs.insert(name.to_owned(), process);
    Ok(process)
}

/// Writes a file of the node.
fn write(node: &Machine, path: &str, text: &str) -> Result<()> {
    let file = node.place.view(path);
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, text))
        .with_context(|| format!("write {path} of {}", node.name()))
}

fn write_resolv_conf(node: &Machine, hub: &Machine) -> Result<()> {
    let lines = hub.addresses.iter().map(|address| format!("nameserver {address}\n"));
    write(node, "/etc/resolv.conf", &lines.collect::<String>())
}

/// With Weir, a node has the loopback plugin and nothing else: the rest arrives by its manifests.
fn install_plugins(node: &Machine, shape: &Shape) -> Result<()> {
    let plugins: &[&str] = match shape.cni {
        Cni::Weir => &["loopback"],
        Cni::Reference => &["loopback", "bridge", "host-local", "portmap"],
    };
    let folder = node.place.view("/opt/cni/bin");
    fs::create_dir_all(&folder).context("create /opt/cni/bin")?;
    for plugin in plugins {
        let original = Path::new(REFERENCE_PLUGINS).join(plugin);
        fs::copy(&original, folder.join(plugin))
            .with_context(|| format!("copy {}", original.display()))?;
    }
    Ok(())
}
