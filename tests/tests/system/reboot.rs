//! After a reboot, reservations of containers that no longer exist are released.

use std::fs;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Pod, Stack, refused};

struct Fixture {
    node: Node,
    cni: Cni,
    live: Pod,
}

/// A store with five reservations: one of a running pod, three of old containers, and one that another
/// process has made since the boot.
fn full_store() -> Result<Fixture> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/29"))?;
    let live = node.pod("live")?;
    cni.add(&live)?;
    let store = cni.store()?;
    for last in 3..=6 {
        fs::write(store.join(format!("10.1.0.{last}")), format!("old-{last}\r\neth0"))?;
    }
    for last in [2, 3, 4, 5] {
        let file = store.join(format!("10.1.0.{last}"));
        node.sh(&format!("touch -d 2001-01-01 {}", file.display()))?;
    }
    refused(cni.add(&node.pod("no-room")?), 102)?;
    Ok(Fixture { node, cni, live })
}

fn reboot(cni: &Cni) -> Result<()> {
    let other = "00000000-0000-0000-0000-000000000000\n";
    Ok(fs::write(cni.store()?.join("boot_id"), other)?)
}

#[test]
fn a_reboot_releases_the_reservations_of_containers_that_are_gone() -> Result<()> {
    let Fixture { node, cni, live } = full_store()?;
    reboot(&cni)?;
    let added = cni.add(&node.pod("new")?)?;
    ensure!(["10.1.0.3", "10.1.0.4", "10.1.0.5"].contains(&&*added.address()?.to_string()));
    let left = cni.reservations()?;
    let owners: Vec<_> = left.values().map(|owner| owner.split("\r\n").next().unwrap()).collect();
    ensure!(owners.len() == 3, "{left:?}");
    for owner in [&*live.container_id(), "new-container", "old-6"] {
        ensure!(owners.contains(&owner), "{owner} is not among {left:?}");
    }
    Ok(())
}

#[test]
fn reservations_are_released_once_per_boot() -> Result<()> {
    let Fixture { node, cni, .. } = full_store()?;
    reboot(&cni)?;
    cni.add(&node.pod("new")?)?;
    let known = fs::read_to_string(cni.store()?.join("boot_id"))?;
    let running = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    ensure!(known.trim() == running.trim(), "the store knows {known:?}");
    // From now on, a reservation without an interface belongs to an ADD in progress, whatever its age.
    let file = cni.store()?.join("10.1.0.99");
    fs::write(&file, "old-99\r\neth0")?;
    node.sh(&format!("touch -d 2001-01-01 {}", file.display()))?;
    cni.add(&node.pod("newer")?)?;
    ensure!(file.exists(), "released without a reboot");
    Ok(())
}

#[test]
fn status_is_ready_after_a_reboot_of_a_node_with_only_old_reservations() -> Result<()> {
    let Fixture { cni, .. } = full_store()?;
    refused(cni.status(), 50)?;
    reboot(&cni)?;
    cni.status()
}
