//! Of two nodes that claim the same, the older one is right, and an operator is told.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Member, NodeManifest, until};

use crate::scene::ghost;

fn logs_name(node: &Member, words: &[&str]) -> Result<()> {
    until("the log tells of the conflict", || {
        let log = node.log();
        let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(told, "no line has all of {words:?}");
        Ok(())
    })
}

/// The older one is known, the younger one takes its place when it goes.
fn older_one_wins(older: &NodeManifest, younger: &NodeManifest, words: &[&str]) -> Result<()> {
    for younger_first in [false, true] {
        Cluster::new(1).without_timer().test(|cluster| {
            let (node, world) = (cluster.node(1)?, cluster.world()?);
            let bystander = ghost(40);
            world.put(&bystander)?;
            let order = if younger_first { [younger, older] } else { [older, younger] };
            for peer in order {
                world.put(peer)?;
            }
            logs_name(node, words)?;
            node.knows_exactly([older, &bystander])?;
            world.remove(older)?;
            node.knows_exactly([younger, &bystander])
        })?;
    }
    Ok(())
}

#[test]
fn of_two_nodes_with_the_same_subnet_the_younger_is_refused() -> Result<()> {
    let younger = ghost(51).pod_cidrs(&["10.244.50.0/24"]);
    older_one_wins(&ghost(50), &younger, &["ghost50", "ghost51", "10.244.50.0/24"])
}

#[test]
fn a_subnet_that_contains_the_other() -> Result<()> {
    let younger = ghost(51).pod_cidrs(&["10.244.48.0/22"]);
    older_one_wins(&ghost(50), &younger, &["ghost50", "ghost51"])
}

#[test]
fn of_two_nodes_with_the_same_address_the_younger_is_refused() -> Result<()> {
    let younger = ghost(51).internal_ips(&["172.31.70.50".parse()?]);
    older_one_wins(&ghost(50), &younger, &["ghost50", "ghost51", "172.31.70.50"])
}

#[test]
fn the_late_delete_of_a_node_removes_nothing_of_its_successor() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let old = ghost(50);
        let new = ghost(51).pod_cidrs(&["10.244.50.0/24"]);
        world.put(&old)?;
        node.knows_exactly([&old])?;
        world.put(&new)?;
        world.remove(&old)?;
        node.knows_exactly([&new])
    })
}

#[test]
fn a_younger_node_cannot_take_this_nodes_pods() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let (node, other) = (cluster.node(1)?, cluster.node(2)?.manifest().clone());
        let thief = ghost(50).pod_cidrs(node.manifest().subnets());
        cluster.world()?.put(&thief)?;
        logs_name(node, &["node1", "ghost50"])?;
        node.knows_exactly([&other])?;
        let pod = node.pod("pod")?;
        ensure!(pod.address()?.to_string().starts_with("10.244.1."));
        Ok(())
    })
}

#[test]
fn a_peer_without_a_subnet_or_an_address_is_waited_for() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let none: [&str; 0] = [];
        let (a, b, c) = (ghost(50), ghost(51), ghost(52));
        world.put(&a.clone().pod_cidrs(&none))?;
        world.put(&b.clone().internal_ips(&[]))?;
        world.put(&c)?;
        node.knows_exactly([&c])?;
        world.put(&a)?;
        world.put(&b)?;
        node.knows_exactly([&a, &b, &c])
    })
}
