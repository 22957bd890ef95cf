//! The tunnel device is restored after any change, with all peers.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Families, Link, Member, Observe, Stack, until};

use crate::fixture::new_pods_talk;

/// Runs `lines` on one of three nodes, and waits until its device is as before, with all peers.
fn device_is_restored_after(lines: &[&str]) -> Result<()> {
    let builder = Cluster::new(3).pods(Families::Dual).without_timer();
    builder.test(|cluster| {
        let node = cluster.node(1)?;
        let before = device(node)?;
        // While the agent is paused, because it would repair the device between two lines.
        node.while_agent_paused(|| lines.iter().try_for_each(|line| node.sh(line).map(drop)))?;
        until("the device is as it was", || {
            let after = device(node)?;
            ensure!(after == before, "now {after:#?}, before {before:#?}");
            Ok(())
        })?;
        cluster.wait_until_ready()?;
        new_pods_talk(cluster, "pod")
    })
}

/// The tunnel device, without attributes that the kernel chooses.
fn device(node: &Member) -> Result<Link> {
    let mut link = node.link("weir.1")?;
    link.ifindex = 0;
    // The link-local address depends on the MAC address at the time.
    link.addresses.retain(|address| address.scope != "link");
    link.addresses.sort_by_key(|address| address.local);
    Ok(link)
}

#[test]
fn the_tunnel_device_has_the_documented_settings_and_does_not_learn() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).test(|cluster| {
        let link = cluster.node(1)?.link("weir.1")?;
        let data = |key: &str| link.info.data.get(key).cloned().unwrap_or_default();
        ensure!(link.info.kind.as_deref() == Some("vxlan") && link.mtu == 1450, "{link:#?}");
        ensure!(data("id") == 1 && data("port") == 8472, "{link:#?}");
        ensure!(data("learning") == false, "{link:#?}");
        let addresses: Vec<_> =
            link.addresses.iter().map(|address| (address.local, address.prefixlen)).collect();
        for expected in [("10.244.1.0".parse()?, 32), ("fd44:0:0:1::".parse()?, 128)] {
            ensure!(addresses.contains(&expected), "{addresses:?}");
        }
        let mac = link.mac.context("no MAC address")?;
        let first = u8::from_str_radix(mac.get(..2).unwrap_or_default(), 16)?;
        ensure!(first & 3 == 2, "{mac} is not a local unicast address");
        Ok(())
    })
}

#[test]
fn every_node_computes_the_mac_addresses_of_the_others() -> Result<()> {
    Cluster::new(3).test(|cluster| {
        for node in cluster.nodes() {
            for other in cluster.nodes().iter().filter(|other| other.name() != node.name()) {
                let mac = other.tunnel_mac()?;
                let neighbours = node.neighbours("weir.1")?;
                let known = neighbours.iter().any(|known| known.mac.as_ref() == Some(&mac));
                ensure!(known, "{mac} of {} is missing in {neighbours:?}", other.name());
            }
        }
        Ok(())
    })
}

#[test]
fn a_deleted_tunnel_device_is_restored() -> Result<()> {
    device_is_restored_after(&["ip link del weir.1"])
}

#[test]
fn a_repeatedly_deleted_tunnel_device_is_restored() -> Result<()> {
    Cluster::new(3).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        for _ in 0..5 {
            node.sh("ip link del weir.1")?;
            cluster.wait_until_ready()?;
        }
        new_pods_talk(cluster, "pod")
    })
}

#[test]
fn a_tunnel_device_that_is_down_is_set_up() -> Result<()> {
    device_is_restored_after(&["ip link set weir.1 down"])
}

#[test]
fn the_mac_address_of_the_tunnel_device_is_restored() -> Result<()> {
    device_is_restored_after(&["ip link set weir.1 address 02:00:00:00:00:77"])
}

#[test]
fn the_mtu_of_the_tunnel_device_is_restored() -> Result<()> {
    device_is_restored_after(&["ip link set weir.1 mtu 1300"])
}

#[test]
fn the_addresses_of_the_tunnel_device_are_restored() -> Result<()> {
    device_is_restored_after(&["ip addr flush dev weir.1"])
}

#[test]
fn an_extra_address_of_the_tunnel_device_is_removed() -> Result<()> {
    device_is_restored_after(&["ip addr add 10.77.0.1/24 dev weir.1"])
}

#[test]
fn a_tunnel_device_that_learns_is_recreated() -> Result<()> {
    device_is_restored_after(&["ip link set weir.1 type vxlan learning"])
}

#[test]
fn a_tunnel_device_with_another_port_is_recreated() -> Result<()> {
    device_is_restored_after(&[
        "ip link del weir.1",
        "ip link add weir.1 type vxlan id 1 dstport 4789 nolearning",
        "ip link set weir.1 up",
    ])
}

#[test]
fn a_device_of_another_kind_with_the_tunnels_name_is_reported() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        node.while_agent_paused(|| {
            node.sh("ip link del weir.1")?;
            node.sh("ip link add weir.1 type bridge")
        })?;
        until("the conflict is logged", || {
            let logged = |line: &str| line.contains("weir.1") && line.contains("bridge");
            ensure!(node.log().lines().any(logged), "not yet");
            ensure!(node.ready().is_err(), "ready without a tunnel");
            Ok(())
        })?;
        ensure!(
            node.link("weir.1")?.info.kind.as_deref() == Some("bridge"),
            "the foreign device was removed"
        );
        node.sh("ip link del weir.1")?;
        cluster.wait_until_ready()?;
        new_pods_talk(cluster, "pod")
    })
}

#[test]
fn a_renamed_tunnel_device_is_recreated() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let lines =
            ["ip link set weir.1 down", "ip link set weir.1 name lost", "ip link set lost up"];
        node.while_agent_paused(|| lines.iter().try_for_each(|line| node.sh(line).map(drop)))?;
        cluster.wait_until_ready()?;
        new_pods_talk(cluster, "pod")
    })
}
