//! Masquerading: machines outside of the cluster see a node's address, and pods see pods' own.

use anyhow::{Result, ensure};
use weir_tests::lab::{
    Builder, Cluster, Families, Member, Mode, Stack, observed_source, tcp_echo, until,
};

use crate::fixture::{addresses_are_ready, pod_everywhere};

fn dual() -> Builder {
    Cluster::new(2).pods(Families::Dual).underlay(Families::Dual)
}

#[test]
fn machines_outside_of_the_cluster_see_pods_with_their_nodes_address() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        dual().mode(mode).test(|cluster| {
            let (outside, addresses) = cluster.outside()?;
            let node = cluster.node(1)?;
            let pod = node.pod("pod")?;
            for (address, expected) in addresses.iter().zip(node.manifest().addresses()) {
                let seen = observed_source(&pod, &outside, *address)?;
                ensure!(seen == *expected, "the address is {seen}, not {expected}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn pods_of_another_node_see_a_pods_own_address() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        dual().mode(mode).test(|cluster| {
            let pods = pod_everywhere(cluster, "pod")?;
            for (from, to) in pods[0].addresses().into_iter().zip(pods[1].addresses()) {
                let seen = observed_source(&pods[0], &pods[1], to)?;
                ensure!(seen == from, "the address is {seen}, not {from}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn masquerading_can_be_turned_off() -> Result<()> {
    Cluster::new(1).flag("--ip-masq=false").test(|cluster| {
        let (outside, addresses) = cluster.outside()?;
        let node = cluster.node(1)?;
        let pod = node.pod("pod")?;
        let (back, via) = (&node.manifest().subnets()[0], node.address()?);
        cluster.underlay().sh(&format!("ip route add {back} via {via}"))?;
        let seen = observed_source(&pod, &outside, addresses[0])?;
        ensure!(seen == pod.address()?, "the address is {seen}");
        Ok(())
    })
}

#[test]
fn masquerading_excludes_the_configured_subnets() -> Result<()> {
    Cluster::new(1).flag("--no-masquerade-cidr=172.31.79.0/24").test(|cluster| {
        let (outside, addresses) = cluster.outside()?;
        let node = cluster.node(1)?;
        let pod = node.pod("pod")?;
        let (back, via) = (&node.manifest().subnets()[0], node.address()?);
        cluster.underlay().sh(&format!("ip route add {back} via {via}"))?;
        let seen = observed_source(&pod, &outside, addresses[0])?;
        ensure!(seen == pod.address()?, "the address is {seen}");
        let router = "172.31.70.1".parse()?;
        let seen = observed_source(&pod, cluster.underlay(), router)?;
        ensure!(seen == via, "the address is {seen}");
        Ok(())
    })
}

/// The agent's table, without counters.
fn table(node: &Member) -> Result<String> {
    node.sh("nft --stateless list table inet weir")
}

#[test]
fn deleted_masquerade_rules_are_restored_and_foreign_rules_kept() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let (outside, addresses) = cluster.outside()?;
        let node = cluster.node(1)?;
        node.sh("nft add table inet foreign")?;
        node.sh("nft add chain inet foreign input")?;
        node.sh("nft add rule inet foreign input counter accept")?;
        node.sh("nft delete table inet weir")?;
        let pod = node.pod("pod")?;
        until("masqueraded again", || tcp_echo(&pod, &outside, addresses[0], b"out"))?;
        let foreign = node.sh("nft list table inet foreign")?;
        ensure!(foreign.contains("accept"), "{foreign}");
        Ok(())
    })
}

#[test]
fn every_change_of_the_agents_table_is_reverted_at_once() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let before = table(node)?;
        for edit in [
            "flush ruleset",
            "delete table inet weir",
            "flush table inet weir",
            "add rule inet weir postrouting counter accept",
            "flush set inet weir cluster_ipv4",
            "add chain inet weir more",
        ] {
            node.while_agent_paused(|| {
                node.sh(&format!("nft {edit}"))?;
                ensure!(table(node).ok().as_ref() != Some(&before), "{edit} changed nothing");
                Ok(())
            })?;
            until(&format!("as before {edit}"), || {
                let after = table(node)?;
                ensure!(after == before, "{after}");
                Ok(())
            })?;
        }
        let metrics = node.get("/metrics")?.body;
        ensure!(metrics.contains("weir_repairs_total{cause=\"nftables\"}"), "{metrics}");
        Ok(())
    })
}

/// The number of passes that changes of tables have started. Passes with another trigger, such as
/// addresses that become ready, are not counted.
fn passes_for_tables(node: &Member) -> usize {
    node.log().matches("trigger=Kernel(Table)").count()
}

#[test]
fn changes_of_foreign_tables_and_the_agents_own_writes_start_no_further_passes() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let whole = table(node)?;
        addresses_are_ready(node)?;
        let before = passes_for_tables(node);
        for number in 0..20 {
            // Tables of the same name in other families, too.
            for table in ["inet foreign", "ip weir", "bridge weir"] {
                node.sh(&format!("nft add table {table}"))?;
                node.sh(&format!("nft add chain {table} chain{number}"))?;
                node.sh(&format!("nft add rule {table} chain{number} counter accept"))?;
            }
            node.sh("nft delete table inet foreign")?;
        }
        // Notifications arrive in order: when this one has been processed, all before it have been.
        node.sh("nft add chain inet weir more")?;
        until("the table is restored", || {
            ensure!(table(node)? == whole, "not yet");
            Ok(())
        })?;
        // The repair is logged after it is done.
        until("the repair is logged", || {
            ensure!(passes_for_tables(node) > before, "not yet");
            Ok(())
        })?;
        let more = passes_for_tables(node) - before;
        // The repair, and a pass for the notification of what it has written.
        ensure!((1..=2).contains(&more), "{more} passes");
        Ok(())
    })
}
