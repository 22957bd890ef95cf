//! An invalid manifest is logged and changes nothing else.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, until};

use crate::fixture::fake_node;

#[test]
fn objects_of_an_invalid_file_keep_their_last_valid_state() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let (kept, other) = (fake_node(50), fake_node(51));
        manifests.put(&kept)?;
        node.wait_for_peers([&kept])?;
        manifests.write("fake50.yaml", "apiVersion: v1\nkind: Node\nmetadata:\n  name: [\n")?;
        until("the log names the file", || {
            ensure!(node.log().contains("fake50.yaml"), "not yet");
            Ok(())
        })?;
        // Other files are still read, and the invalid one again as soon as it is valid.
        manifests.put(&other)?;
        node.wait_for_peers([&kept, &other])?;
        let moved = kept.internal_ips(&["172.31.70.77".parse()?]);
        manifests.put(&moved)?;
        node.wait_for_peers([&moved, &other])
    })
}

#[test]
fn an_invalid_address_is_reported_with_its_file() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let peer = fake_node(50);
        let yaml = fake_node(51).yaml().replace("10.244.51.0/24", "10.244.51.0/99");
        manifests.write("invalid.yaml", &yaml)?;
        manifests.put(&peer)?;
        node.wait_for_peers([&peer])?;
        until("the log names the file and the value", || {
            let log = node.log();
            let named =
                |line: &str| line.contains("invalid.yaml") && line.contains("10.244.51.0/99");
            ensure!(log.lines().any(named), "not yet");
            Ok(())
        })
    })
}

#[test]
fn what_is_not_known_of_the_cluster_is_reported_until_it_is_known() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        manifests.write("one.yaml", "kind: Node\nmetadata: [\n")?;
        manifests.write("two.yaml", &fake_node(51).yaml().replace("10.244.51.0/24", "no"))?;
        until("it is reported", || {
            let readiness = node.get("/readyz")?.body;
            let mut lines = readiness.lines();
            let line = lines.find(|line| line.starts_with("warning ClusterStateIncomplete: "));
            let is_named = |line: &str| line.contains("one.yaml") && line.contains("(and 1 more");
            ensure!(line.is_some_and(is_named), "{readiness}");
            ensure!(node.log().contains("\"ClusterStateIncomplete\""), "there is no Event");
            Ok(())
        })?;
        let (_, status) = node.weir_json(&["status"])?;
        ensure!(status["problems"].to_string().contains("one.yaml"), "{status:#}");
        node.ready()?;
        for file in ["one.yaml", "two.yaml"] {
            manifests.write(file, "")?;
        }
        until("it is over", || {
            let found = node.get("/concerns")?.body;
            ensure!(found == "[]", "{found}");
            Ok(())
        })
    })
}

#[test]
fn one_file_may_hold_several_nodes() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let peers = [fake_node(50), fake_node(51), fake_node(52)];
        let all: Vec<_> = peers.iter().map(|peer| peer.yaml()).collect();
        manifests.write("all.yaml", &all.join("---\n"))?;
        node.wait_for_peers(&peers)?;
        manifests.write("all.yaml", &all[0])?;
        node.wait_for_peers(&peers[..1])
    })
}
