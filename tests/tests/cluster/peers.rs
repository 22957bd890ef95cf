//! Peers come, go and come back as others while the agent watches.

use anyhow::Result;
use weir_tests::lab::{Cluster, NodeManifest, ping};

use crate::scene::{ghost, new_pods_talk};

/// The same name as another node: with another address, other pods, or both.
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
fn a_peer_that_is_added_is_known_and_one_that_is_removed_is_forgotten() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let (a, b) = (ghost(50), ghost(51));
        world.put(&a)?;
        node.knows_exactly([&a])?;
        world.put(&b)?;
        node.knows_exactly([&a, &b])?;
        world.remove(&a)?;
        node.knows_exactly([&b])?;
        world.remove(&b)?;
        node.knows_exactly([])
    })
}

#[test]
fn a_peer_that_is_created_anew_replaces_the_old_one() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let (first, other) = (ghost(50), ghost(51));
        world.put(&other)?;
        for second in recreations(&first)? {
            world.put(&first)?;
            node.knows_exactly([&first, &other])?;
            world.remove(&first)?;
            node.knows_exactly([&other])?;
            world.put(&second)?;
            node.knows_exactly([&second, &other])?;
        }
        Ok(())
    })
}

#[test]
fn a_peer_that_is_created_anew_at_once_replaces_the_old_one() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let (first, other) = (ghost(50), ghost(51));
        world.put(&other)?;
        for second in recreations(&first)? {
            world.put(&first)?;
            node.knows_exactly([&first, &other])?;
            world.put(&second)?;
            node.knows_exactly([&second, &other])?;
        }
        Ok(())
    })
}

#[test]
fn two_peers_that_swap_their_subnets_keep_nothing_of_each_other() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let (a, b) = (ghost(50), ghost(51));
        world.put(&a)?;
        world.put(&b)?;
        node.knows_exactly([&a, &b])?;
        let a = a.uid("a2").pod_cidrs(&["10.244.51.0/24"]);
        let b = b.uid("b2").pod_cidrs(&["10.244.50.0/24"]);
        world.put(&a)?;
        world.put(&b)?;
        node.knows_exactly([&a, &b])
    })
}

#[test]
fn the_annotation_of_a_peer_overrides_its_address() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let peer = ghost(50);
        world.put(&peer.clone().annotated("weir.dev/underlay-ip", "172.31.70.77"))?;
        node.knows_exactly([&peer.internal_ips(&["172.31.70.77".parse()?])])
    })
}

#[test]
fn a_node_that_joins_late_is_reached_by_pods_that_were_there() -> Result<()> {
    Cluster::new(2).own_worlds().without_timer().stopped().test(|cluster| {
        let (a, b) = (cluster.node(1)?, cluster.node(2)?);
        cluster.world_of(a)?.remove(b.manifest())?;
        a.start_agent()?;
        a.knows_exactly([])?;
        weir_tests::lab::until("node 1 is ready", || a.ready())?;
        let early = a.pod("early")?;
        b.start_agent()?;
        cluster.world_of(a)?.put(b.manifest())?;
        cluster.settled()?;
        let late = b.pod("late")?;
        ping(&early, late.address()?)?;
        new_pods_talk(cluster, "pod")
    })
}
