//! Direct routing: only peers on other subnets are reached through the tunnel.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Entries, Families, Mode};

use crate::fixture::{fake_node, new_pods_talk};

#[test]
fn peers_on_the_same_subnet_are_reached_by_routes_and_others_by_the_tunnel() -> Result<()> {
    let builder = Cluster::new(3).mode(Mode::DirectRouting).pods(Families::Dual).behind_router(3);
    builder.test(|cluster| {
        let entries = Entries::of(cluster.node(1)?)?;
        let over = |device: &str| entries.routes.iter().filter(|route| route.2 == device).count();
        ensure!(over("uplink") == 2 && over("weir.1") == 2, "{entries:#?}");
        new_pods_talk(cluster, "pod")
    })
}

#[test]
fn a_peer_that_moves_to_another_subnet_and_back_is_reached_by_the_tunnel_meanwhile() -> Result<()> {
    let builder = Cluster::new(1).mode(Mode::DirectRouting).pods(Families::Dual).without_timer();
    builder.behind_router(9).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let peer = fake_node(50).pod_cidrs(&["10.244.50.0/24", "fd44:0:0:50::/64"]);
        let near = peer.clone().internal_ips(&["172.31.70.50".parse()?, "fd00:70::50".parse()?]);
        let far = peer.internal_ips(&["172.31.71.50".parse()?, "fd00:71::50".parse()?]);
        for manifest in [near.clone(), far, near] {
            manifests.put(&manifest)?;
            node.wait_for_peers([&manifest])?;
        }
        Ok(())
    })
}

#[test]
fn without_a_tunnel_a_peer_behind_a_router_is_reported_and_others_are_reached() -> Result<()> {
    Cluster::new(3).mode(Mode::HostGw).behind_router(3).stopped().test(|cluster| {
        for node in cluster.nodes() {
            node.start_agent()?;
        }
        let (a, b, far) = (cluster.node(1)?, cluster.node(2)?, cluster.node(3)?);
        a.wait_for_peers([b.manifest(), far.manifest()])?;
        b.wait_for_peers([a.manifest(), far.manifest()])?;
        ensure!(a.log().contains("node3"), "the log does not name the peer");
        a.get("/healthz")?.ok()
    })
}
