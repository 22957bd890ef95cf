//! Pods have the largest MTU that the underlay allows, and packets of that size are not fragmented.

use std::fs;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{
    AttachedPod, Builder, Cluster, Families, Member, Mode, Observe, Stack, tcp_transfer, until,
};

use crate::fixture::pod_everywhere;

/// Pods have this MTU; a packet of that size passes, and a larger one does not leave the pod.
fn largest_packet_is(pods: &[AttachedPod], mtu: u32) -> Result<()> {
    let [from, to] = pods else { anyhow::bail!("expected two pods") };
    for pod in pods {
        let eth0 = pod.link("eth0")?;
        ensure!(eth0.mtu == mtu, "a pod's MTU is {}, not {mtu}", eth0.mtu);
    }
    for address in to.addresses() {
        let headers = if address.is_ipv4() { 28 } else { 48 };
        let sized = |size: u32| from.sh(&format!("ping -n -c 1 -w 5 -M do -s {size} {address}"));
        sized(mtu - headers).with_context(|| format!("{mtu} bytes to {address}"))?;
        ensure!(sized(mtu + 1 - headers).is_err(), "{} bytes passed to {address}", mtu + 1);
        tcp_transfer(from, to, address, 1 << 20)?;
    }
    Ok(())
}

fn mtu_is(builder: Builder, mtu: u32) -> Result<()> {
    builder.test(|cluster| largest_packet_is(&pod_everywhere(cluster, "pod")?, mtu))
}

#[test]
fn a_tunnel_over_ipv4_reduces_the_mtu_by_50_bytes() -> Result<()> {
    mtu_is(Cluster::new(2).pods(Families::Dual), 1450)
}

#[test]
fn a_tunnel_over_ipv6_reduces_the_mtu_by_70_bytes() -> Result<()> {
    mtu_is(Cluster::new(2).pods(Families::Dual).underlay(Families::V6), 1430)
}

#[test]
fn without_a_tunnel_pods_have_the_uplinks_mtu() -> Result<()> {
    mtu_is(Cluster::new(2).mode(Mode::HostGw), 1500)
}

#[test]
fn the_tunnel_passes_jumbo_frames() -> Result<()> {
    mtu_is(Cluster::new(2).mtu(9000), 8950)
}

fn subnet_env(node: &Member) -> Result<String> {
    let path = node.run_dir().join("subnet.env");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn change_mtu(cluster: &Cluster, mtu: u32) -> Result<()> {
    cluster.set_mtu(mtu)?;
    for node in cluster.nodes() {
        until("the tunnel's MTU follows", || {
            let (tunnel, env) = (node.link("weir.1")?.mtu, subnet_env(node)?);
            ensure!(tunnel == mtu - 50, "{tunnel}");
            ensure!(env.contains(&format!("WEIR_MTU={}\n", mtu - 50)), "{env}");
            Ok(())
        })?;
    }
    cluster.wait_until_ready()
}

#[test]
fn new_pods_follow_a_smaller_mtu_and_old_pods_still_reach_them() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let old = pod_everywhere(cluster, "old")?;
        change_mtu(cluster, 1400)?;
        let new = pod_everywhere(cluster, "new")?;
        largest_packet_is(&new, 1350)?;
        tcp_transfer(&old[0], &new[1], new[1].address()?, 1 << 20)?;
        tcp_transfer(&new[1], &old[0], old[0].address()?, 1 << 20)
    })
}

#[test]
fn new_pods_follow_a_larger_mtu_and_old_pods_still_reach_them() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let old = pod_everywhere(cluster, "old")?;
        change_mtu(cluster, 1600)?;
        let new = pod_everywhere(cluster, "new")?;
        tcp_transfer(&old[0], &new[1], new[1].address()?, 1 << 20)?;
        tcp_transfer(&new[1], &old[0], old[0].address()?, 1 << 20)?;
        // The MTU of a bridge is that of its smallest port, so the old pods must be deleted.
        old.into_iter().try_for_each(AttachedPod::detach)?;
        largest_packet_is(&new, 1550)
    })
}
