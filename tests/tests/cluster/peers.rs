//! Peers are added, removed and recreated while the agent runs.

use anyhow::Result;
use weir_tests::lab::{Cluster, NodeManifest, ping};

use crate::fixture::{fake_node, new_pods_talk};

/// The node after it was recreated: with another address, another subnet, or both.
fn recreations(first: &NodeManifest) -> Result<[NodeManifest; 3]> {
    let second = first.clone().uid("second").created("2026-03-01T00:00:00Z");
    let (ip, cidr) = (["172.31.70.88".parse()?], ["10.244.88.0/24"]);
    Ok([
        second.clone().internal_ips(&ip),
        second.clone().pod_cidrs(&cidr),
        second.internal_ips(&ip).pod_cidrs(&cidr),
    ])
}

#[test]
fn entries_follow_added_and_removed_peers() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let (a, b) = (fake_node(50), fake_node(51));
        manifests.put(&a)?;
        node.wait_for_peers([&a])?;
        manifests.put(&b)?;
        node.wait_for_peers([&a, &b])?;
        manifests.remove(&a)?;
        node.wait_for_peers([&b])?;
        manifests.remove(&b)?;
        node.wait_for_peers([])
    })
}

#[test]
fn a_recreated_peer_replaces_the_old_one() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let (first, other) = (fake_node(50), fake_node(51));
        manifests.put(&other)?;
        for second in recreations(&first)? {
            manifests.put(&first)?;
            node.wait_for_peers([&first, &other])?;
            manifests.remove(&first)?;
            node.wait_for_peers([&other])?;
            manifests.put(&second)?;
            node.wait_for_peers([&second, &other])?;
        }
        Ok(())
    })
}

#[test]
fn a_peer_recreated_at_once_replaces_the_old_one() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let (first, other) = (fake_node(50), fake_node(51));
        manifests.put(&other)?;
        for second in recreations(&first)? {
            manifests.put(&first)?;
            node.wait_for_peers([&first, &other])?;
            manifests.put(&second)?;
            node.wait_for_peers([&second, &other])?;
        }
        Ok(())
    })
}

#[test]
fn two_peers_may_swap_their_subnets() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let (a, b) = (fake_node(50), fake_node(51));
        manifests.put(&a)?;
        manifests.put(&b)?;
        node.wait_for_peers([&a, &b])?;
        let a = a.uid("a2").pod_cidrs(&["10.244.51.0/24"]);
        let b = b.uid("b2").pod_cidrs(&["10.244.50.0/24"]);
        manifests.put(&a)?;
        manifests.put(&b)?;
        node.wait_for_peers([&a, &b])
    })
}

#[test]
fn the_underlay_ip_annotation_overrides_a_peers_address() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let peer = fake_node(50);
        manifests.put(&peer.clone().annotated("weir.dev/underlay-ip", "172.31.70.77"))?;
        node.wait_for_peers([&peer.internal_ips(&["172.31.70.77".parse()?])])
    })
}

#[test]
fn existing_pods_reach_a_node_that_joins_later() -> Result<()> {
    Cluster::new(2).separate_manifests().without_timer().stopped().test(|cluster| {
        let (a, b) = (cluster.node(1)?, cluster.node(2)?);
        cluster.manifests_of(a)?.remove(b.manifest())?;
        a.start_agent()?;
        a.wait_for_peers([])?;
        weir_tests::lab::until("node 1 is ready", || a.ready())?;
        let early = a.pod("early")?;
        b.start_agent()?;
        cluster.manifests_of(a)?.put(b.manifest())?;
        cluster.wait_until_ready()?;
        let late = b.pod("late")?;
        ping(&early, late.address()?)?;
        new_pods_talk(cluster, "pod")
    })
}
