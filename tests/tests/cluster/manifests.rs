//! A file that cannot be read changes nothing but the log.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, until};

use crate::scene::ghost;

#[test]
fn a_broken_file_keeps_the_last_good_state_of_its_objects() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let (kept, other) = (ghost(50), ghost(51));
        world.put(&kept)?;
        node.knows_exactly([&kept])?;
        world.write("ghost50.yaml", "apiVersion: v1\nkind: Node\nmetadata:\n  name: [\n")?;
        until("the log names the file", || {
            ensure!(node.log().contains("ghost50.yaml"), "it does not");
            Ok(())
        })?;
        // Others are still followed, and the broken one is again as soon as it can be read.
        world.put(&other)?;
        node.knows_exactly([&kept, &other])?;
        let moved = kept.internal_ips(&["172.31.70.77".parse()?]);
        world.put(&moved)?;
        node.knows_exactly([&moved, &other])
    })
}

#[test]
fn a_wrong_address_is_reported_with_its_file() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let peer = ghost(50);
        let yaml = ghost(51).yaml().replace("10.244.51.0/24", "10.244.51.0/99");
        world.write("wrong.yaml", &yaml)?;
        world.put(&peer)?;
        node.knows_exactly([&peer])?;
        until("the log names the file and the value", || {
            let log = node.log();
            let named = |line: &str| line.contains("wrong.yaml") && line.contains("10.244.51.0/99");
            ensure!(log.lines().any(named), "it does not");
            Ok(())
        })
    })
}

#[test]
fn several_nodes_in_one_file_are_several_nodes() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, world) = (cluster.node(1)?, cluster.world()?);
        let peers = [ghost(50), ghost(51), ghost(52)];
        let all: Vec<_> = peers.iter().map(|peer| peer.yaml()).collect();
        world.write("all.yaml", &all.join("---\n"))?;
        node.knows_exactly(&peers)?;
        world.write("all.yaml", &all[0])?;
        node.knows_exactly(&peers[..1])
    })
}
