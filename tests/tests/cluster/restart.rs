//! Restarts of agents do not affect pods: a running flow loses no packet.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use weir_tests::lab::{AttachedPod, Builder, Cluster, Entries, Families, Flow, Mode, until};

use crate::fixture::pod_everywhere;

/// Runs `disturb` while datagrams pass in both directions between pods of two nodes.
fn no_packet_is_lost(builder: Builder, disturb: impl Fn(&Cluster) -> Result<()>) -> Result<()> {
    builder.test(|cluster| {
        let pods = pod_everywhere(cluster, "pod")?;
        // A running flow: all neighbours are resolved.
        crate::fixture::all_talk(&pods)?;
        let flows = flows(&pods)?;
        let disturbed = disturb(cluster);
        for (to, flow) in flows {
            let tally = flow.stop()?;
            let complete = tally.sent > 0 && tally.arrived == tally.sent && tally.lost() == 0;
            ensure!(complete, "to {to}: {tally:?}");
        }
        disturbed
    })
}

fn flows(pods: &[AttachedPod]) -> Result<Vec<(IpAddr, Flow)>> {
    let [a, b] = pods else { anyhow::bail!("expected two pods") };
    let mut flows = Vec::new();
    for (from, to) in [(a, b), (b, a)] {
        for address in to.addresses() {
            flows.push((address, Flow::start(from, to, address)?));
        }
    }
    Ok(flows)
}

fn replace(cluster: &Cluster, signal: Signal) -> Result<()> {
    for node in cluster.nodes() {
        node.end_agent(signal)?;
        node.start_agent()?;
        until("the new agent is ready", || node.ready())?;
    }
    cluster.wait_until_ready()
}

#[test]
fn no_packet_is_lost_when_the_agent_is_killed_and_restarted() -> Result<()> {
    let builder = Cluster::new(2).pods(Families::Dual);
    no_packet_is_lost(builder, |cluster| replace(cluster, Signal::KILL))
}

#[test]
fn no_packet_is_lost_when_the_agent_is_replaced() -> Result<()> {
    let builder = Cluster::new(2).pods(Families::Dual);
    no_packet_is_lost(builder, |cluster| replace(cluster, Signal::TERM))
}

#[test]
fn no_packet_is_lost_without_a_tunnel_either() -> Result<()> {
    let builder = Cluster::new(2).mode(Mode::HostGw).pods(Families::Dual);
    no_packet_is_lost(builder, |cluster| replace(cluster, Signal::KILL))
}

#[test]
fn an_agent_killed_at_any_time_of_its_start_loses_no_packet() -> Result<()> {
    no_packet_is_lost(Cluster::new(2), |cluster| {
        let node = cluster.node(1)?;
        node.kill_agent()?;
        for milliseconds in [1, 5, 10, 20, 40, 80, 160, 320] {
            node.start_agent()?;
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
            node.kill_agent()?;
        }
        node.start_agent()?;
        until("the last agent is ready", || node.ready())?;
        cluster.wait_until_ready()
    })
}

#[test]
fn an_agent_that_ends_keeps_all_entries() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let node = cluster.node(1)?;
        let before = Entries::of(node)?;
        node.end_agent(Signal::TERM)?;
        ensure!(Entries::of(node)? == before, "{:#?}", Entries::of(node)?);
        ensure!(node.conflist().exists() && node.run_dir().join("subnet.env").exists());
        Ok(())
    })
}
