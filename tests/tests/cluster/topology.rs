//! The laboratory's clusters, without agents.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Families, Mode, NodeManifest, Observe, Stack, ping};

#[test]
fn nodes_reach_each_other_and_the_outside_over_both_families() -> Result<()> {
    Cluster::new(3).underlay(Families::Dual).behind_router(3).stopped().test(|cluster| {
        let (_outside, addresses) = cluster.outside()?;
        for from in cluster.nodes() {
            let others = cluster.nodes().iter().flat_map(|node| node.manifest().addresses());
            for address in others.chain(&addresses) {
                ping(from, *address)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_cluster_leaves_the_root_namespace_unchanged() -> Result<()> {
    let interfaces = || -> Result<Vec<String>> {
        let names = std::fs::read_dir("/sys/class/net")?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    Cluster::new(2).stopped().test(|_| {
        let ours =
            |name: &String| ["lan", "port", "uplink"].iter().any(|own| name.starts_with(own));
        let found: Vec<_> = interfaces()?.into_iter().filter(ours).collect();
        ensure!(found.is_empty(), "{found:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        ensure!(!mounts.contains("weir-lab-"), "a mount reached the root namespace");
        Ok(())
    })
}

#[test]
fn check_peers_compares_a_nodes_entries_with_the_expected_ones() -> Result<()> {
    Cluster::new(1).mode(Mode::DirectRouting).stopped().test(|cluster| {
        let node = cluster.node(1)?;
        let near = NodeManifest::new("near")
            .pod_cidrs(&["10.244.8.0/24"])
            .internal_ips(&["172.31.70.8".parse()?]);
        let far = NodeManifest::new("far")
            .pod_cidrs(&["10.244.9.0/24"])
            .internal_ips(&["172.31.71.9".parse()?]);
        node.check_peers([])?;
        ensure!(node.check_peers([&near]).is_err());
        for line in [
            "ip link add weir.1 type vxlan id 1 dstport 8472 nolearning",
            "ip link set weir.1 up",
            "ip route add 10.244.8.0/24 via 172.31.70.8 proto 87",
            "ip route add 10.244.9.0/24 via 10.244.9.0 dev weir.1 onlink proto 87",
            "ip neigh add 10.244.9.0 lladdr 02:00:00:00:00:09 dev weir.1 nud permanent",
            "bridge fdb add 02:00:00:00:00:09 dev weir.1 dst 172.31.71.9 self permanent",
        ] {
            node.sh(line)?;
        }
        node.check_peers([&near, &far])?;
        ensure!(node.check_peers([&near]).is_err() && node.check_peers([&far]).is_err());
        // Foreign routes are ignored.
        node.sh("ip route add 10.99.0.0/16 via 172.31.70.1")?;
        node.check_peers([&near, &far])?;
        node.sh("bridge fdb add 02:00:00:00:00:08 dev weir.1 dst 172.31.71.7 self permanent")?;
        ensure!(node.check_peers([&near, &far]).is_err(), "{:?}", node.fdb()?);
        Ok(())
    })
}

#[test]
fn an_underlay_has_the_configured_mtu() -> Result<()> {
    Cluster::new(2).mtu(1400).stopped().test(|cluster| {
        let (a, b) = (cluster.node(1)?, cluster.node(2)?);
        let largest =
            |size: u32| a.sh(&format!("ping -n -c 1 -w 2 -M do -s {size} {}", b.address()?));
        largest(1400 - 28)?;
        ensure!(largest(1401 - 28).is_err());
        cluster.set_mtu(1450)?;
        largest(1450 - 28).map(drop)
    })
}
