//! The uplink goes down and up again, or its address changes.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Families, Mode, Observe, Stack, until};

use crate::fixture::{all_talk, new_pods_talk, pod_everywhere};

#[test]
fn entries_are_restored_after_the_uplink_was_down() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw, Mode::DirectRouting] {
        Cluster::new(2).mode(mode).pods(Families::Dual).without_timer().test(|cluster| {
            let pods = pod_everywhere(cluster, "pod")?;
            let node = cluster.node(1)?;
            node.sh("ip link set uplink down")?;
            node.sh("ip link set uplink up")?;
            cluster.configure_uplink(node)?;
            cluster.wait_until_ready()?;
            all_talk(&pods)
        })?;
    }
    Ok(())
}

#[test]
fn a_peer_added_while_the_uplink_was_down_gets_entries() -> Result<()> {
    Cluster::new(2).mode(Mode::HostGw).without_timer().test(|cluster| {
        let (node, peer) = (cluster.node(1)?, crate::fixture::fake_node(50));
        let known = cluster.node(2)?.manifest().clone();
        node.sh("ip link set uplink down")?;
        cluster.manifests()?.put(&peer)?;
        cluster.node(2)?.wait_for_peers([node.manifest(), &peer])?;
        node.sh("ip link set uplink up")?;
        cluster.configure_uplink(node)?;
        node.wait_for_peers([&known, &peer])
    })
}

/// Changes the address of node 2: in its kernel, and in its manifest before or after that.
fn address_changes(mode: Mode, manifest_first: bool) -> Result<()> {
    Cluster::new(3).mode(mode).without_timer().test(|cluster| {
        let pods = pod_everywhere(cluster, "pod")?;
        let [one, two, three] = cluster.nodes() else { anyhow::bail!("expected three nodes") };
        let address = IpAddr::from([172, 31, 70, 60]);
        let manifest = two.manifest().clone().internal_ips(&[address]);
        if manifest_first {
            cluster.manifests()?.put(&manifest)?;
        }
        two.sh(&format!("ip addr add {address}/24 dev uplink"))?;
        two.sh(&format!("ip addr del {}/24 dev uplink", two.address()?))?;
        // Removing the first address of a subnet removes the others, unless they are promoted.
        two.sh(&format!("ip addr replace {address}/24 dev uplink"))?;
        if !manifest_first {
            cluster.manifests()?.put(&manifest)?;
        }
        one.wait_for_peers([&manifest, three.manifest()])?;
        two.wait_for_peers([one.manifest(), three.manifest()])?;
        three.wait_for_peers([one.manifest(), &manifest])?;
        for node in cluster.nodes() {
            until("ready", || node.ready())?;
        }
        if mode == Mode::Vxlan {
            until("the tunnel leaves from the new address", || {
                let local = two.link("weir.1")?.info.data.get("local").cloned();
                let expected = local.is_none() || local == Some(address.to_string().into());
                ensure!(expected, "{local:?}");
                Ok(())
            })?;
        }
        all_talk(&pods)?;
        new_pods_talk(cluster, "later")
    })
}

#[test]
fn a_node_may_change_its_address_before_its_manifest_changes() -> Result<()> {
    address_changes(Mode::Vxlan, false)?;
    address_changes(Mode::HostGw, false)
}

#[test]
fn a_nodes_manifest_may_change_before_its_address_changes() -> Result<()> {
    address_changes(Mode::Vxlan, true)?;
    address_changes(Mode::HostGw, true)
}
