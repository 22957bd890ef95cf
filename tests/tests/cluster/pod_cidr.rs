//! A node whose subnet is assigned late, or changes.

use std::fs;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Families, Observe, until};

use crate::fixture::new_pods_talk;

#[test]
fn an_agent_without_a_subnet_waits_and_logs_what_to_do() -> Result<()> {
    Cluster::new(2).without_timer().stopped().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let none: [&str; 0] = [];
        manifests.put(&node.manifest().clone().pod_cidrs(&none))?;
        for node in cluster.nodes() {
            node.start_agent()?;
        }
        until("the log says what to do", || {
            ensure!(node.log().contains("--allocate-node-cidrs"), "not yet");
            Ok(())
        })?;
        let ready = node.get("/readyz")?;
        ensure!(ready.status == 503, "{ready:?}");
        node.get("/healthz")?.ok()?;
        ensure!(!node.conflist().exists(), "the CNI configuration exists");
        cluster.node(2)?.wait_for_peers([])?;
        manifests.put(node.manifest())?;
        cluster.wait_until_ready()?;
        new_pods_talk(cluster, "pod")
    })
}

#[test]
fn bridge_configuration_and_peers_follow_a_new_subnet() -> Result<()> {
    let builder = Cluster::new(2).pods(Families::Dual).without_timer();
    builder.test(|cluster| {
        let [node, peer] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
        // The bridge exists, with a pod on it.
        let old = node.pod("old")?;
        let subnets = ["10.244.100.0/24", "fd44:0:0:100::/64"];
        let changed = node.manifest().clone().pod_cidrs(&subnets);
        cluster.manifests()?.put(&changed)?;
        peer.wait_for_peers([&changed])?;
        until("bridge, tunnel and files follow", || {
            let list = fs::read_to_string(node.conflist())?;
            ensure!(subnets.iter().all(|subnet| list.contains(subnet)), "{list}");
            ensure!(!list.contains("10.244.1.0/24"), "{list}");
            let env = fs::read_to_string(node.run_dir().join("subnet.env"))?;
            ensure!(env.contains("10.244.100.") && !env.contains("10.244.1."), "{env}");
            let has = |link: &str, expected: &str| -> Result<()> {
                let addresses = node.link(link)?.addresses;
                let found = addresses.iter().any(|address| address.local.to_string() == expected);
                ensure!(found, "{link} has {addresses:?}, not {expected}");
                Ok(())
            };
            has("weir.1", "10.244.100.0")?;
            has("weir.1", "fd44:0:0:100::")?;
            has("weir0", "10.244.100.1")?;
            has("weir0", "fd44:0:0:100::1")
        })?;
        until("ready", || node.ready())?;
        old.detach()?;
        let (new, far) = (node.pod("new")?, peer.pod("far")?);
        ensure!(new.address()?.to_string().starts_with("10.244.100."), "{:?}", new.addresses());
        crate::fixture::talk(&new, &far)?;
        crate::fixture::talk(&far, &new)
    })
}

#[test]
fn a_change_of_the_subnet_while_the_agent_was_down_is_applied() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let [node, peer] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
        node.pod("old")?.detach()?;
        node.kill_agent()?;
        let changed = node.manifest().clone().pod_cidrs(&["10.244.100.0/24"]);
        cluster.manifests()?.put(&changed)?;
        peer.wait_for_peers([&changed])?;
        node.start_agent()?;
        until("the configuration follows", || {
            let list = fs::read_to_string(node.conflist())?;
            ensure!(list.contains("10.244.100.0/24"), "{list}");
            node.ready()
        })?;
        let (new, far) = (node.pod("new")?, peer.pod("far")?);
        crate::fixture::talk(&new, &far)
    })
}
