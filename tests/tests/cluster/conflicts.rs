//! If two nodes claim the same subnet or address, the older one wins and the log has the conflict.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Member, NodeManifest, until};

use crate::fixture::fake_node;

fn wait_for_log(node: &Member, words: &[&str]) -> Result<()> {
    until("the conflict is logged", || {
        let log = node.log();
        let logged = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(logged, "no line has all of {words:?}");
        Ok(())
    })
}

/// The older node has entries; the younger one gets them when the older one is removed.
fn older_one_wins(older: &NodeManifest, younger: &NodeManifest, words: &[&str]) -> Result<()> {
    for younger_first in [false, true] {
        Cluster::new(1).without_timer().test(|cluster| {
            let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
            let bystander = fake_node(40);
            manifests.put(&bystander)?;
            let order = if younger_first { [younger, older] } else { [older, younger] };
            for peer in order {
                manifests.put(peer)?;
            }
            wait_for_log(node, words)?;
            node.wait_for_peers([older, &bystander])?;
            manifests.remove(older)?;
            node.wait_for_peers([younger, &bystander])
        })?;
    }
    Ok(())
}

#[test]
fn the_younger_of_two_nodes_with_the_same_subnet_is_refused() -> Result<()> {
    let younger = fake_node(51).pod_cidrs(&["10.244.50.0/24"]);
    older_one_wins(&fake_node(50), &younger, &["fake50", "fake51", "10.244.50.0/24"])
}

#[test]
fn the_younger_of_two_nodes_with_overlapping_subnets_is_refused() -> Result<()> {
    let younger = fake_node(51).pod_cidrs(&["10.244.48.0/22"]);
    older_one_wins(&fake_node(50), &younger, &["fake50", "fake51"])
}

#[test]
fn the_younger_of_two_nodes_with_the_same_address_is_refused() -> Result<()> {
    let younger = fake_node(51).internal_ips(&["172.31.70.50".parse()?]);
    older_one_wins(&fake_node(50), &younger, &["fake50", "fake51", "172.31.70.50"])
}

#[test]
fn a_late_delete_of_a_node_keeps_the_entries_of_its_successor() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let old = fake_node(50);
        let new = fake_node(51).pod_cidrs(&["10.244.50.0/24"]);
        manifests.put(&old)?;
        node.wait_for_peers([&old])?;
        manifests.put(&new)?;
        manifests.remove(&old)?;
        node.wait_for_peers([&new])
    })
}

#[test]
fn a_younger_node_cannot_take_over_the_subnet_of_this_node() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let (node, other) = (cluster.node(1)?, cluster.node(2)?.manifest().clone());
        let thief = fake_node(50).pod_cidrs(node.manifest().subnets());
        cluster.manifests()?.put(&thief)?;
        wait_for_log(node, &["node1", "fake50"])?;
        node.wait_for_peers([&other])?;
        let pod = node.pod("pod")?;
        ensure!(pod.address()?.to_string().starts_with("10.244.1."));
        Ok(())
    })
}

#[test]
fn a_peer_gets_entries_once_it_has_a_subnet_and_an_address() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let none: [&str; 0] = [];
        let (a, b, c) = (fake_node(50), fake_node(51), fake_node(52));
        manifests.put(&a.clone().pod_cidrs(&none))?;
        manifests.put(&b.clone().internal_ips(&[]))?;
        manifests.put(&c)?;
        node.wait_for_peers([&c])?;
        manifests.put(&a)?;
        manifests.put(&b)?;
        node.wait_for_peers([&a, &b, &c])
    })
}
