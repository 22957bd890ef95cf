//! Changes while the agent was down are found when it starts.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Entries, NodeManifest, Stack, until};

use crate::fixture::{fake_node, new_pods_talk};

#[test]
fn changes_of_peers_while_the_agent_was_down_are_applied() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let stays = fake_node(50);
        let (leaves, moves, renumbered, both) =
            (fake_node(51), fake_node(52), fake_node(53), fake_node(54));
        let before = [&stays, &leaves, &moves, &renumbered, &both].map(Clone::clone);
        for peer in &before {
            manifests.put(peer)?;
        }
        node.wait_for_peers(&before)?;
        node.kill_agent()?;

        let new = |peer: &NodeManifest| peer.clone().uid(&format!("{}-second", peer.name()));
        let moves = new(&moves).internal_ips(&["172.31.70.62".parse()?]);
        let renumbered = new(&renumbered).pod_cidrs(&["10.244.63.0/24"]);
        let ip = ["172.31.70.64".parse()?];
        let both = new(&both).pod_cidrs(&["10.244.64.0/24"]).internal_ips(&ip);
        let comes = fake_node(55);
        manifests.remove(&leaves)?;
        let after = [stays, moves, renumbered, both, comes];
        for peer in &after {
            manifests.put(peer)?;
        }
        node.start_agent()?;
        node.wait_for_peers(&after)
    })
}

#[test]
fn a_starting_agent_keeps_entries_until_it_has_read_the_cluster() -> Result<()> {
    // The agent cannot read the cluster, so it keeps the entries of the kernel.
    Cluster::new(2).test(|cluster| {
        let node = cluster.node(1)?;
        let before = Entries::of(node)?;
        node.kill_agent()?;
        std::fs::rename(
            cluster.manifests()?.dir(),
            cluster.manifests()?.dir().with_extension("away"),
        )?;
        node.start_agent()?;
        until("the agent responds", || node.get("/healthz").map(drop))?;
        ensure!(Entries::of(node)? == before, "{:#?}", Entries::of(node)?);
        std::fs::rename(
            cluster.manifests()?.dir().with_extension("away"),
            cluster.manifests()?.dir(),
        )?;
        cluster.wait_until_ready()
    })
}

#[test]
fn a_tunnel_device_deleted_while_the_agent_was_down_is_restored() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let node = cluster.node(1)?;
        node.kill_agent()?;
        node.sh("ip link del weir.1")?;
        node.start_agent()?;
        cluster.wait_until_ready()?;
        new_pods_talk(cluster, "pod")
    })
}
