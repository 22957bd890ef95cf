//! In dual-stack clusters a change of one family does not affect the other.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Families, Flow, NodeManifest};

use crate::fixture::{fake_node, new_pods_talk, pod_everywhere};

#[test]
fn a_change_of_a_peers_ipv6_subnet_loses_no_ipv4_packet() -> Result<()> {
    let builder = Cluster::new(2).pods(Families::Dual).separate_manifests().without_timer();
    builder.test(|cluster| {
        let (node, peer) = (cluster.node(1)?, cluster.node(2)?);
        let pods = pod_everywhere(cluster, "pod")?;
        let flow = Flow::start(&pods[0], &pods[1], pods[1].address()?)?;
        let ipv4 = peer.manifest().subnets()[0].clone();
        let changed = peer.manifest().clone().pod_cidrs(&[&*ipv4, "fd44:0:0:77::/64"]);
        for manifest in [changed, peer.manifest().clone().pod_cidrs(&[&ipv4])] {
            cluster.manifests_of(node)?.put(&manifest)?;
            node.wait_for_peers([&manifest])?;
        }
        cluster.manifests_of(node)?.put(peer.manifest())?;
        cluster.wait_until_ready()?;
        let tally = flow.stop()?;
        ensure!(tally.lost() == 0, "{tally:?}");
        new_pods_talk(cluster, "later")
    })
}

#[test]
fn a_peer_may_gain_and_lose_a_family() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).without_timer().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let with = |subnets: &[&str]| -> NodeManifest { fake_node(50).pod_cidrs(subnets) };
        for subnets in [
            &["10.244.50.0/24"][..],
            &["10.244.50.0/24", "fd44:0:0:50::/64"],
            &["fd44:0:0:50::/64"],
            &["fd44:0:0:50::/64", "10.244.50.0/24"],
        ] {
            let peer = with(subnets);
            manifests.put(&peer)?;
            node.wait_for_peers([&peer])?;
        }
        Ok(())
    })
}
