//! GC removes the state of containers that no longer exist, and nothing else.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, Config, Node, Observe, Stack, ping, refused};

fn setup() -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    Ok((node, cni))
}

#[test]
fn gc_keeps_valid_attachments_and_removes_the_others() -> Result<()> {
    let (node, cni) = setup()?;
    let (a, b, c) = (node.pod("a")?, node.pod("b")?, node.pod("c")?);
    let (_, kept, _) = (cni.add(&a)?, cni.add(&b)?, cni.add(&c)?);
    cni.gc(&[&b])?;
    let left: Vec<_> = cni.reservations()?.into_iter().collect();
    ensure!(left == [(kept.address()?, "b-container\r\neth0".to_owned())], "{left:?}");
    ensure!(cni.records()? == [format!("{}.json", kept.host()?.name)]);
    let links: Vec<_> = cni.host_interfaces()?.into_iter().map(|link| link.name).collect();
    ensure!(links == [kept.host()?.name.clone()], "{links:?}");
    ensure!(node.fdb()?.iter().filter(|entry| entry.state == "static").count() == 1);
    cni.check(&b, &kept)?;
    ping(&b, kept.gateway()?)
}

#[test]
fn gc_identifies_an_attachment_by_container_and_interface() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let kept = cni.add(&pod)?;
    let second = cni.reconfigured(|config| config.with("isDefaultGateway", false));
    second.call("ADD").pod(&pod).env("CNI_IFNAME", "net1").run()?.added()?;
    cni.gc(&[&pod])?;
    ensure!(pod.find_link("net1")?.is_none(), "net1 is not in the list");
    ensure!(cni.reservations()?.len() == 1 && cni.records()?.len() == 1);
    cni.check(&pod, &kept)
}

#[test]
fn gc_succeeds_when_there_is_nothing_to_remove() -> Result<()> {
    let (node, cni) = setup()?;
    cni.gc(&[])?;
    ensure!(node.find_link("weir0")?.is_none());
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    for _ in 0..2 {
        cni.gc(&[&pod])?;
        cni.check(&pod, &added)?;
    }
    Ok(())
}

#[test]
fn gc_removes_a_reservation_without_interface_and_record() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    fs::write(cni.store()?.join("10.1.0.99"), "long-gone\r\neth0")?;
    cni.gc(&[&pod])?;
    ensure!(cni.reservations()?.len() == 1);
    Ok(())
}

#[test]
fn gc_removes_an_interface_without_reservation_and_record() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    fs::remove_file(cni.records_dir()?.join(format!("{}.json", added.host()?.name)))?;
    fs::remove_file(cni.store()?.join("10.1.0.2"))?;
    cni.gc(&[])?;
    cni.ensure_nothing_left()
}

#[test]
fn gc_removes_a_record_without_interface_and_reservation() -> Result<()> {
    let (node, cni) = setup()?;
    let mut pod = node.pod("a")?;
    cni.add(&pod)?;
    node.sh("ip link del weir0")?;
    pod.remove_netns()?;
    fs::remove_dir_all(cni.store()?)?;
    cni.gc(&[])?;
    cni.ensure_nothing_left()
}

#[test]
fn gc_keeps_interfaces_that_are_not_pods() -> Result<()> {
    let (node, cni) = setup()?;
    cni.add(&node.pod("a")?)?;
    for line in [
        "ip link add weirfoo type veth peer name weirbar",
        "ip link add veth0123abcd type veth peer name far",
        "ip link set veth0123abcd master weir0",
        "ip link add weir.1 type bridge",
        "ip link add weirdeadbeef001 type veth peer name far2",
    ] {
        node.sh(line)?;
    }
    cni.gc(&[])?;
    for name in ["weirfoo", "veth0123abcd", "weir.1", "weir0", "weirdeadbeef001"] {
        ensure!(node.find_link(name)?.is_some(), "{name} was removed");
    }
    ensure!(node.link("veth0123abcd")?.master.as_deref() == Some("weir0"));
    Ok(())
}

#[test]
fn gc_keeps_pods_of_other_networks() -> Result<()> {
    let (node, cni) = setup()?;
    let second =
        Cni::new(&node, Config::new("10.2.0.0/24").with("name", "second").with("bridge", "weir1"))?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    cni.add(&a)?;
    let kept = second.add(&b)?;
    cni.gc(&[])?;
    ensure!(cni.reservations()?.is_empty());
    second.check(&b, &kept)?;
    ensure!(second.reservations()?.len() == 1 && second.records()?.len() == 1);
    ping(&b, kept.gateway()?)
}

#[test]
fn gc_keeps_pods_of_another_network_on_the_same_bridge() -> Result<()> {
    let (node, cni) = setup()?;
    let range = json!([[{ "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.100" }]]);
    let second = Cni::new(&node, Config::with_ranges(range).with("name", "second"))?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    cni.add(&a)?;
    let kept = second.add(&b)?;
    cni.gc(&[])?;
    second.check(&b, &kept)?;
    ensure!(cni.reservations()?.is_empty() && cni.host_interfaces()?.len() == 1);
    ping(&b, kept.gateway()?)
}

#[test]
fn gc_refuses_an_invalid_list_and_removes_nothing() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    for list in [json!("all"), json!({}), json!([1]), json!([null]), json!([{ "containerID": 1 }])]
    {
        let invalid = cni.reconfigured(|config| config.with("cni.dev/valid-attachments", list));
        let error = refused(invalid.call("GC").run()?.silent(), 7)?;
        ensure!(error.to_string().contains("cni.dev/valid-attachments"), "{error}");
    }
    cni.check(&pod, &added)
}

#[test]
fn gc_refuses_a_list_with_an_attachment_that_cannot_exist_and_removes_nothing() -> Result<()> {
    let (node, cni) = setup()?;
    let (pod, other) = (node.pod("a")?, node.pod("b")?);
    let added = [cni.add(&pod)?, cni.add(&other)?];
    let (id, long) = (pod.container_id(), "sixteencharacter");
    for (container, ifname, field) in [
        ("", "eth0", "containerID"),
        ("../b", "eth0", "containerID"),
        ("-b", "eth0", "containerID"),
        (" ", "eth0", "containerID"),
        ("b\n", "eth0", "containerID"),
        (&*id, "", "ifname"),
        (&*id, ".", "ifname"),
        (&*id, "eth/0", "ifname"),
        (&*id, "eth 0", "ifname"),
        (&*id, long, "ifname"),
        ("", "", "containerID"),
    ] {
        let valid = json!({ "containerID": id, "ifname": "eth0" });
        let list = json!([valid, { "containerID": container, "ifname": ifname }]);
        let invalid = cni.reconfigured(|config| config.with("cni.dev/valid-attachments", list));
        let error = refused(invalid.call("GC").run()?.silent(), 7)?;
        let key = format!("cni.dev/valid-attachments[1].{field}");
        ensure!(error.to_string().contains(&key), "{container:?} {ifname:?}: {error}");
    }
    cni.check(&pod, &added[0])?;
    cni.check(&other, &added[1])?;
    ping(&other, added[1].gateway()?)
}

#[test]
fn gc_keeps_a_pod_of_another_network_after_a_killed_second_add() -> Result<()> {
    let (node, cni) = setup()?;
    let second =
        Cni::new(&node, Config::new("10.2.0.0/24").with("name", "second").with("bridge", "weir1"))?;
    let pod = node.pod("a")?;
    let kept = second.add(&pod)?;
    // The state of an ADD that was killed just after it had written its pending record.
    let pending = second.records_dir()?.join(format!("{}.pending", kept.host()?.name));
    fs::write(&pending, "")?;
    node.sh(&format!("touch -d 2001-01-01 {}", pending.display()))?;
    cni.gc(&[])?;
    second.check(&pod, &kept)
}

#[test]
fn gc_without_a_list_is_refused_and_removes_nothing() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    let error = refused(cni.call("GC").run()?.silent(), 7)?;
    ensure!(error.to_string().contains("cni.dev/valid-attachments"), "{error}");
    cni.check(&pod, &added)
}

#[test]
fn gc_keeps_the_state_of_an_add_in_progress() -> Result<()> {
    // The list was made before the ADD began, so it does not have the pod.
    let (_node, cni) = setup()?;
    let pod = cni.node().pod("a")?;
    let added = cni.add(&pod)?;
    let record = cni.records_dir()?.join(format!("{}.json", added.host()?.name));
    let pending = record.with_extension("pending");
    let content = fs::read(&record)?;
    fs::rename(&record, &pending)?;
    cni.gc(&[])?;
    // The ADD completes.
    fs::remove_file(&pending)?;
    fs::write(&record, content)?;
    cni.check(&pod, &added)?;
    ping(&pod, added.gateway()?)
}
