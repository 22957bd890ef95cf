//! The agent repairs the FDB entries of the pods' bridge and reports that somebody has changed them.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{AttachedPod, Cluster, FdbEntry, Member, Observe, Stack, ping, until};

/// The bridge's own MAC address.
fn own_mac(node: &Member) -> Result<String> {
    node.link("weir0")?.mac.context("a bridge without a MAC address")
}

/// The fixed entry of the bridge for a MAC address.
fn entry(node: &Member, mac: &str) -> Result<Option<FdbEntry>> {
    let mut entries = node.fdb()?.into_iter();
    Ok(entries
        .find(|e| e.mac == mac && e.master.as_deref() == Some("weir0") && !e.state.is_empty()))
}

fn is_own(node: &Member) -> Result<()> {
    let found = entry(node, &own_mac(node)?)?.context("no entry")?;
    ensure!(found.port == "weir0" && found.state == "permanent", "{found:?}");
    Ok(())
}

fn is_of(node: &Member, pod: &AttachedPod) -> Result<()> {
    let mac = pod.link("eth0")?.mac.context("no MAC address")?;
    let found = entry(node, &mac)?.context("no entry")?;
    ensure!(found.port == pod.added().host()?.name && found.state == "static", "{found:?}");
    Ok(())
}

fn reaches_its_node(node: &Member, pod: &AttachedPod) -> Result<()> {
    ping(pod, pod.added().gateway()?)?;
    ping(node, pod.address()?)
}

/// A port of the bridge that is not of a pod.
fn add_thief(node: &Member) -> Result<()> {
    node.sh("ip link add thief type veth peer name behind")?;
    node.sh("ip link set thief master weir0 up").map(drop)
}

fn concerns(node: &Member) -> Result<String> {
    node.get("/concerns").map(|response| response.body)
}

#[test]
fn the_bridges_own_entry_is_restored_at_once() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let pod = node.pod("pod")?;
        let mac = own_mac(node)?;
        add_thief(node)?;
        for change in [
            format!("bridge fdb del {mac} dev weir0 self"),
            format!("bridge fdb replace {mac} dev thief master static sticky"),
            format!("bridge fdb replace {mac} dev thief master static"),
        ] {
            node.sh(&change)?;
            until("the entry is back", || is_own(node)).with_context(|| change.clone())?;
            reaches_its_node(node, &pod).with_context(|| change.clone())?;
            node.ready()?;
        }
        let metrics = node.get("/metrics")?.body;
        ensure!(metrics.contains("weir_repairs_total{cause=\"bridge_entry\"}"), "{metrics}");
        ensure!(metrics.contains("weir_operations_total{kind=\"bridge_entry_set\"}"), "{metrics}");
        Ok(())
    })
}

#[test]
fn a_pods_entry_is_restored_by_the_next_resync() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let (pod, other) = (node.pod("pod")?, node.pod("other")?);
        add_thief(node)?;
        let mac = pod.link("eth0")?.mac.context("no MAC address")?;
        let host = pod.added().host()?.name.clone();
        for change in [
            format!("bridge fdb del {mac} dev {host} master"),
            format!("bridge fdb replace {mac} dev thief master static sticky"),
        ] {
            node.sh(&change)?;
            until("the entry is back", || is_of(node, &pod)).with_context(|| change.clone())?;
            reaches_its_node(node, &pod)?;
        }
        // Without it, another port could take the address.
        let sticky = || {
            let shown = node.sh(&format!("bridge -d fdb get {mac} br weir0"))?;
            ensure!(shown.contains("sticky"), "{shown}");
            Ok(())
        };
        sticky()?;
        node.sh(&format!("bridge fdb replace {mac} dev {host} master static"))?;
        until("the entry is sticky again", sticky)?;
        is_of(node, &other)
    })
}

#[test]
fn a_repaired_entry_is_a_concern_until_the_next_check() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let _pod = node.pod("pod")?;
        add_thief(node)?;
        let mac = own_mac(node)?;
        until("the repair is reported", || {
            node.sh(&format!("bridge fdb replace {mac} dev thief master static sticky"))?;
            let found = concerns(node)?;
            ensure!(found.contains("BridgeEntriesChanged"), "{found}");
            for words in [&*mac, "bridge weir0", "thief", "bridge monitor fdb"] {
                ensure!(found.contains(words), "{words}: {found}");
            }
            Ok(())
        })?;
        until("it is over", || {
            ensure!(concerns(node)? == "[]", "{}", concerns(node)?);
            Ok(())
        })?;
        is_own(node)?;
        node.ready()
    })
}

/// Gives the pod's record another MAC address, as a pod has that an older plugin added.
fn change_record(node: &Member, pod: &AttachedPod, mac: &str) -> Result<()> {
    let path = node.run_dir().join(format!("endpoints/{}.json", pod.added().host()?.name));
    let mut record: Value = serde_json::from_slice(&fs::read(&path)?)?;
    record["mac"] = mac.into();
    Ok(fs::write(&path, record.to_string())?)
}

#[test]
fn a_pod_with_the_mac_address_of_the_bridge_or_of_an_older_pod_is_reported() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let (old, new, thief) = (node.pod("old")?, node.pod("new")?, node.pod("thief")?);
        let of_old = old.link("eth0")?.mac.context("no MAC address")?;
        change_record(node, &thief, &own_mac(node)?)?;
        change_record(node, &new, &of_old)?;
        until("both are reported", || {
            let found = concerns(node)?;
            for words in [
                format!("pod default/thief has the MAC address {} of bridge weir0", own_mac(node)?),
                format!("pod default/new has the MAC address {of_old} of pod default/old"),
            ] {
                ensure!(found.contains(&words), "{words}: {found}");
            }
            Ok(())
        })?;
        let kinds = |status: &Value| -> Vec<String> {
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            problems.iter().filter_map(|p| Some(p["kind"].as_str()?.to_owned())).collect()
        };
        let (_, status) = node.weir_json(&["status"])?;
        let found = kinds(&status);
        ensure!(found.iter().filter(|kind| *kind == "concern").count() == 2, "{status:#}");
        is_own(node)?;
        is_of(node, &old)?;
        reaches_its_node(node, &old)?;
        node.ready()?;

        // The tool reports them without the agent.
        node.kill_agent()?;
        let (_, status) = node.weir_json(&["status"])?;
        let found = kinds(&status);
        ensure!(found.iter().filter(|kind| *kind == "forwarding_wrong").count() == 2, "{status:#}");
        Ok(())
    })
}

#[test]
fn status_reports_wrong_entries_while_the_agent_is_down() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        let pod = node.pod("pod")?;
        node.kill_agent()?;
        add_thief(node)?;
        let mac = pod.link("eth0")?.mac.context("no MAC address")?;
        node.sh(&format!("bridge fdb del {} dev weir0 self", own_mac(node)?))?;
        node.sh(&format!("bridge fdb replace {mac} dev thief master static sticky"))?;
        let shown = String::from_utf8_lossy(&node.weir(&["status"])?.stdout).into_owned();
        for words in ["for its own MAC address is gone", &format!("for {mac} of pod default/pod")] {
            ensure!(shown.contains(words), "{words}: {shown}");
        }
        node.start_agent()?;
        until("the node is healthy", || {
            let shown = node.weir_text(&["status"])?;
            ensure!(shown.starts_with("healthy"), "{shown}");
            Ok(())
        })?;
        is_own(node)?;
        is_of(node, &pod)?;
        reaches_its_node(node, &pod)
    })
}

#[test]
fn pods_whose_records_are_lost_are_reported() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let pods = [node.pod("one")?, node.pod("two")?];
        let records = node.run_dir().join("endpoints");
        let away = node.run_dir().join("away");
        fs::rename(&records, &away)?;
        until("it is reported", || {
            let found = concerns(node)?;
            ensure!(found.contains("EndpointRecordsLost"), "{found}");
            ensure!(found.contains("2 interfaces of pods have no record"), "{found}");
            ensure!(found.contains(&records.display().to_string()), "{found}");
            Ok(())
        })?;
        let (_, status) = node.weir_json(&["status"])?;
        ensure!(status["problems"].to_string().contains("have no record"), "{status:#}");
        fs::rename(&away, &records)?;
        until("it is over", || {
            ensure!(concerns(node)? == "[]", "{}", concerns(node)?);
            Ok(())
        })?;
        drop(pods);
        Ok(())
    })
}
