//! An agent without changes to apply writes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Builder, Cluster, Families, Member, Mode, Stack, ping, until};

use crate::fixture::{addresses_are_ready, fake_node, passes, pod_everywhere};

const OPERATIONS: &str = "weir_operations_total";

/// The kernel's notifications of three seconds, in which the resync timer fires at least twice. Those
/// of dynamic neighbours are left out, because the kernel changes them by itself.
fn notifications(node: &Member) -> Result<Vec<String>> {
    addresses_are_ready(node)?;
    let watch = |program: &str, objects: &[&str]| -> Result<String> {
        let finished = node
            .command("timeout")?
            .args(["3", program, "monitor"])
            .args(objects)
            .deadline(Duration::from_secs(30))
            .finish()?;
        ensure!(finished.status.code() == Some(124), "{}", finished.stderr);
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    };
    let (links, forwarding) = std::thread::scope(|scope| -> Result<_> {
        let forwarding = scope.spawn(|| watch("bridge", &["fdb"]));
        let rest = watch("ip", &["link", "address", "route", "neigh"])?;
        Ok((rest, forwarding.join().ok().context("the monitor panicked")??))
    })?;
    let dynamic = |line: &&str| {
        ["REACHABLE", "STALE", "DELAY", "PROBE", "FAILED"].iter().any(|state| line.contains(state))
    };
    let lines = links.lines().chain(forwarding.lines()).filter(|line| !dynamic(line));
    Ok(lines.map(str::to_owned).collect())
}

fn is_quiet(builder: Builder) -> Result<()> {
    builder.flag("--resync-seconds=1").test(|cluster| {
        let pods = pod_everywhere(cluster, "pod")?;
        ping(&pods[0], pods[1].address()?)?;
        for node in cluster.nodes() {
            let operations = || Ok::<_, anyhow::Error>(node.get("/metrics")?.metric(OPERATIONS));
            let before = operations()?;
            ensure!(before > Some(0.0), "{before:?} operations");
            let lines = notifications(node)?;
            ensure!(lines.is_empty(), "{}: {lines:#?}", node.name());
            let after = operations()?;
            ensure!(before == after, "operations: {before:?}, then {after:?}");
        }
        Ok(())
    })
}

#[test]
fn an_idle_agent_with_a_tunnel_writes_nothing() -> Result<()> {
    is_quiet(Cluster::new(2).pods(Families::Dual))
}

#[test]
fn an_idle_agent_without_a_tunnel_writes_nothing() -> Result<()> {
    is_quiet(Cluster::new(2).pods(Families::Dual).mode(Mode::HostGw))
}

#[test]
fn a_restarted_agent_writes_nothing() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).test(|cluster| {
        let _pods = pod_everywhere(cluster, "pod")?;
        let node = cluster.node(1)?;
        node.kill_agent()?;
        let lines = std::thread::scope(|scope| -> Result<_> {
            let watching = scope.spawn(|| notifications(node));
            node.start_agent()?;
            until("the new agent is ready", || node.ready())?;
            watching.join().ok().context("the monitor panicked")?
        })?;
        ensure!(lines.is_empty(), "{lines:#?}");
        Ok(())
    })
}

#[test]
fn rewriting_an_unchanged_manifest_causes_no_writes() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let node = cluster.node(1)?;
        let operations =
            || -> Result<_> { Ok(node.get("/metrics")?.metric("weir_operations_total")) };
        let before = operations()?;
        let lines = std::thread::scope(|scope| -> Result<_> {
            let watching = scope.spawn(|| notifications(node));
            for member in cluster.nodes() {
                cluster.manifests()?.put(member.manifest())?;
            }
            watching.join().ok().context("the monitor panicked")?
        })?;
        ensure!(lines.is_empty() && operations()? == before, "{lines:#?}");
        Ok(())
    })
}

#[test]
fn the_agents_own_writes_start_no_further_pass() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        addresses_are_ready(node)?;
        // Another notification may start a pass meanwhile. But if the agent's own writes did, each round
        // would have more passes.
        let counts: Result<Vec<_>> =
            (50..55).map(|number| passes_for_peer_and_repair(cluster, node, number)).collect();
        let counts = counts?;
        ensure!(counts.contains(&2.0), "{counts:?} passes for a new peer and a repair");
        Ok(())
    })
}

fn passes_for_peer_and_repair(cluster: &Cluster, node: &Member, number: u8) -> Result<f64> {
    let before = passes(node)?;
    let peers: Vec<_> = (50..=number).map(fake_node).collect();
    cluster.manifests()?.put(&fake_node(number))?;
    node.wait_for_peers(&peers)?;
    // Notifications arrive in order: when this one has been processed, all before it have been.
    node.sh(&format!("ip route del 10.244.{number}.0/24"))?;
    node.wait_for_peers(&peers)?;
    until("both are counted", || {
        ensure!(passes(node)? - before >= 2.0, "not yet");
        Ok(())
    })?;
    Ok(passes(node)? - before)
}
