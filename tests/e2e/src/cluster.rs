//! The life of a cluster: `up` and `down`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;

use anyhow::{Context, Error, Result, ensure};

use crate::console::{note, step};
use crate::control_plane::{self, certificates};
use crate::deploy;
use crate::environment::Environment;
use crate::kubectl::{Kubectl, admin_config};
use crate::machine::{Machine, cgroup, inotify};
use crate::member::Member;
use crate::node::{self, Boot};
use crate::requirements;
use crate::spec::{ClusterSpec, join_addresses};
use crate::state::State;
use crate::underlay;

/// Makes a cluster. When a step fails, everything made so far stays for inspection until `down`.
///
/// # Errors
/// When a step fails; the error names the folder of the logs.
pub(crate) fn up(environment: &Environment, spec: ClusterSpec) -> Result<()> {
    spec.check()?;
    let dir = environment.state()?;
    ensure!(
        State::find(environment)?.is_none() && !cgroup::exist()?,
        "there is a cluster on this host already; end it with: cargo xtask e2e down"
    );
    step("check the requirements", || requirements::check(environment))?;
    make(environment, spec).with_context(|| {
        format!("the logs are in {}; end it with: cargo xtask e2e down", dir.join("logs").display())
    })?;
    let nodes = State::load(environment)?.nodes.len();
    note(&format!("{nodes} nodes are up. Next: cargo xtask e2e kubectl get pods -A -o wide"));
    note(&format!("logs: {}", dir.join("logs").display()));
    Ok(())
}

fn make(environment: &Environment, spec: ClusterSpec) -> Result<()> {
    let dir = environment.state()?;
    fs::create_dir_all(dir.join("logs")).with_context(|| format!("create {}", dir.display()))?;
    let mut state = State { spec, complete: false, hub: None, nodes: Vec::new() };
    state.save(environment)?;
    inotify::raise(dir)?;

    let mut hub = step("make the hub and the underlay", || hub(&spec))?;
    state.hub = Some(hub.clone());
    state.save(environment)?;
    step("make certificates", || certificates::make(environment, &hub.machine, &spec))?;
    step("start nodes and control plane, import images", || {
        let nodes = start_in_parallel(environment, &mut hub, &spec);
        state.hub = Some(hub.clone());
        state.nodes = nodes?;
        state.save(environment)
    })?;
    step("start kubelets and kube-proxies", || {
        for node in &mut state.nodes {
            node::start_kubelet(environment, &hub, node, &spec)?;
            node::start_proxy(environment, &hub.machine, node, &spec)?;
        }
        state.save(environment)
    })?;
    step("give nodes their subnets", || deploy::route_to_pods(environment, &state))?;
    step("deploy the pod network", || deploy::deploy_network(environment, &state))?;
    step("deploy CoreDNS", || deploy::deploy_dns(environment, &state))?;
    step("wait for Ready nodes", || {
        deploy::wait_ready(environment, &state).with_context(|| diagnostics(environment, &state))
    })?;
    step("wait for CoreDNS", || {
        deploy::wait_for_dns(environment, &state).with_context(|| diagnostics(environment, &state))
    })?;
    state.complete = true;
    state.save(environment)
}

fn hub(spec: &ClusterSpec) -> Result<Member> {
    let machine = Machine::create("hub")?;
    let addresses = spec.ip_family.hub();
    underlay::prepare_hub(&machine, &addresses)?;
    Ok(Member { machine, number: 0, addresses, programs: Default::default() })
}

/// Importing images is bound by the disk, and starting the control plane mostly waits: both run at
/// once.
fn start_in_parallel(
    environment: &Environment,
    hub: &mut Member,
    spec: &ClusterSpec,
) -> Result<Vec<Member>> {
    let connected = hub.clone();
    thread::scope(|scope| {
        let boots: Vec<_> = (1..=spec.nodes)
            .map(|number| {
                let hub = &connected;
                scope.spawn(move || -> Result<Member> {
                    let node = node::boot(environment, hub, number, spec, Boot::First)?;
                    node::import_images(environment, &node)?;
                    Ok(node)
                })
            })
            .collect();
        let plane = control_plane::start(environment, hub, spec);
        let nodes: Vec<Result<Member>> = boots
            .into_iter()
            .map(|boot| boot.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        plane?;
        nodes.into_iter().collect()
    })
}

/// The nodes, pods, warnings and agents' logs of a cluster in which a step failed.
pub(crate) fn diagnostics(environment: &Environment, state: &State) -> String {
    let kubectl =
        |arguments: &[&str]| -> Result<String> { Kubectl::new(environment, state)?.run(arguments) };
    [
        kubectl(&["get", "nodes,pods", "-A", "-o", "wide"]),
        kubectl(&[
            "get",
            "events",
            "-A",
            "--field-selector=type=Warning",
            "--sort-by=.lastTimestamp",
        ])
        .map(|events| crate::process::last_lines(&events, 12)),
        kubectl(&["-n", "weir-system", "logs", "daemonset/weir-agent", "--tail=12"]),
    ]
    .map(|output| output.unwrap_or_else(|error| format!("{error:#}")))
    .join("\n")
}

/// Ends a cluster, also one that was made in part. Without a cluster it does nothing.
///
/// # Errors
/// Lists everything that could not be removed; the rest is gone.
pub(crate) fn down(environment: &Environment) -> Result<()> {
    let dir = environment.state()?;
    let mut errors: Vec<Error> = Vec::new();
    errors
        .extend(step("end all processes, namespaces and cgroups", || cgroup::destroy(None)).err());
    if dir.exists() {
        errors.extend(step("restore the host's settings", || inotify::restore(dir)).err());
        if errors.is_empty() {
            errors.extend(step("remove the cluster's files", || remove(dir)).err());
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => {
            let all: Vec<_> = errors.iter().map(|error| format!("{error:#}")).collect();
            anyhow::bail!("not everything is gone:\n{}", all.join("\n"))
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The state of the cluster, in a few lines.
///
/// # Errors
/// When there is no cluster.
pub(crate) fn status(environment: &Environment) -> Result<String> {
    let state = State::load(environment)?;
    let mut lines = vec![format!(
        "{:?}{}",
        state.spec,
        if state.complete { "" } else { ", not complete: its `up` failed or still runs" }
    )];
    for member in state.hub.iter().chain(&state.nodes) {
        let alive = if member.machine.anchor.is_alive() { "up" } else { "gone" };
        lines.push(format!("{} {alive}, {}", member.name(), join_addresses(&member.addresses)));
        for (name, process) in &member.programs {
            let alive = if process.is_alive() { "runs" } else { "has ended" };
            lines.push(format!("  {name} {alive}, process {}", process.pid));
        }
    }
    let dir = environment.state()?;
    lines.push(format!(
        "kubeconfig {}, logs {}",
        admin_config(dir).display(),
        dir.join("logs").display()
    ));
    Ok(lines.join("\n"))
}
