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
use crate::node;
use crate::place::{Boot, Place, cgroup, inotify};
use crate::requirements;
use crate::shape::Shape;
use crate::state::{Machine, State};
use crate::underlay;

/// Makes a cluster. What it made stays when it fails, for inspection, until `down`.
///
/// # Errors
/// When a step fails; the error says what to look at.
pub(crate) fn up(environment: &Environment, shape: Shape) -> Result<()> {
    shape.check()?;
    let dir = environment.state()?;
    ensure!(
        State::find(environment)?.is_none() && !cgroup::exist()?,
        "there is a cluster on this machine already; end it with: cargo xtask e2e down"
    );
    step("look for what is needed", || requirements::check(environment))?;
    make(environment, shape).with_context(|| {
        format!("the logs are in {}; end it with: cargo xtask e2e down", dir.join("logs").display())
    })?;
    let nodes = State::load(environment)?.nodes.len();
    note(&format!("{nodes} nodes are up. Next: cargo xtask e2e kubectl get pods -A -o wide"));
    note(&format!("logs: {}", dir.join("logs").display()));
    Ok(())
}

fn make(environment: &Environment, shape: Shape) -> Result<()> {
    let dir = environment.state()?;
    fs::create_dir_all(dir.join("logs")).with_context(|| format!("create {}", dir.display()))?;
    let mut state = State { shape, complete: false, hub: None, nodes: Vec::new() };
    state.save(environment)?;
    inotify::raise(dir)?;

    let mut hub = step("make the hub and the underlay", || hub(&shape))?;
    state.hub = Some(hub.clone());
    state.save(environment)?;
    step("make certificates", || certificates::make(environment, &hub.place, &shape))?;
    step("start nodes and control plane, import images", || {
        let nodes = start_in_parallel(environment, &mut hub, &shape);
        state.hub = Some(hub.clone());
        state.nodes = nodes?;
        state.save(environment)
    })?;
    step("start kubelets and kube-proxies", || {
        for node in &mut state.nodes {
            node::start_kubelet(environment, &hub, node, &shape)?;
            node::start_proxy(environment, &hub.place, node, &shape)?;
        }
        state.save(environment)
    })?;
    step("give nodes their subnets", || deploy::route_to_pods(environment, &state))?;
    step("deploy the pod network", || deploy::deploy_network(environment, &state))?;
    step("deploy CoreDNS", || deploy::deploy_dns(environment, &state))?;
    step("wait for Ready nodes", || {
        deploy::wait_ready(environment, &state).with_context(|| troubles(environment, &state))
    })?;
    step("wait for CoreDNS", || {
        deploy::wait_for_dns(environment, &state).with_context(|| troubles(environment, &state))
    })?;
    state.complete = true;
    state.save(environment)
}

fn hub(shape: &Shape) -> Result<Machine> {
    let place = Place::create("hub")?;
    let addresses = shape.ip_family.hub();
    underlay::prepare_hub(&place, &addresses)?;
    Ok(Machine { place, number: 0, addresses, programs: Default::default() })
}

/// The images take the disk, the control plane waits a lot: both at a time.
fn start_in_parallel(
    environment: &Environment,
    hub: &mut Machine,
    shape: &Shape,
) -> Result<Vec<Machine>> {
    let beginning = hub.clone();
    thread::scope(|scope| {
        let boots: Vec<_> = (1..=shape.nodes)
            .map(|number| {
                let hub = &beginning;
                scope.spawn(move || -> Result<Machine> {
                    let node = node::boot(environment, hub, number, shape, Boot::First)?;
                    node::import_images(environment, &node)?;
                    Ok(node)
                })
            })
            .collect();
        let plane = control_plane::start(environment, hub, shape);
        let nodes: Vec<Result<Machine>> = boots
            .into_iter()
            .map(|boot| boot.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        plane?;
        nodes.into_iter().collect()
    })
}

/// What a person would ask the cluster next.
pub(crate) fn troubles(environment: &Environment, state: &State) -> String {
    let ask = |words: &[&str]| -> Result<String> { Kubectl::new(environment, state)?.run(words) };
    [
        ask(&["get", "nodes,pods", "-A", "-o", "wide"]),
        ask(&["get", "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"])
            .map(|events| crate::process::last_lines(&events, 12)),
        ask(&["-n", "weir-system", "logs", "daemonset/weir-agent", "--tail=12"]),
    ]
    .map(|answer| answer.unwrap_or_else(|error| format!("{error:#}")))
    .join("\n")
}

/// Ends a cluster, or what has been made of one. Without one it does nothing.
///
/// # Errors
/// Everything that stays, after all else is gone.
pub(crate) fn down(environment: &Environment) -> Result<()> {
    let dir = environment.state()?;
    let mut errors: Vec<Error> = Vec::new();
    errors
        .extend(step("end all processes, namespaces and cgroups", || cgroup::destroy(None)).err());
    if dir.exists() {
        errors.extend(step("restore the machine's settings", || inotify::restore(dir)).err());
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

/// What is up, in a few lines.
///
/// # Errors
/// When there is no cluster.
pub(crate) fn status(environment: &Environment) -> Result<String> {
    let state = State::load(environment)?;
    let mut lines = vec![format!(
        "{:?}{}",
        state.shape,
        if state.complete { "" } else { ", not complete: its `up` failed or still runs" }
    )];
    for machine in state.hub.iter().chain(&state.nodes) {
        let alive = if machine.place.anchor.is_alive() { "up" } else { "gone" };
        lines.push(format!(
            "{} {alive}, {}",
            machine.name(),
            crate::shape::joined(&machine.addresses)
        ));
        for (name, process) in &machine.programs {
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
