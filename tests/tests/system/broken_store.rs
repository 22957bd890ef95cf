//! A damaged store causes no crash, and no address is assigned twice.

use std::fs;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node};

/// A network with the addresses .2 to .6 and a damaged store.
fn damaged(damage: impl FnOnce(&std::path::Path) -> std::io::Result<()>) -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/29"))?;
    let store = cni.store()?;
    fs::create_dir_all(&store)?;
    damage(&store)?;
    Ok((node, cni))
}

fn given(node: &Node, cni: &Cni, count: usize) -> Result<Vec<String>> {
    (0..count).map(|i| Ok(cni.add(&node.pod(&format!("p{i}"))?)?.address()?.to_string())).collect()
}

#[test]
fn an_empty_file_reserves_its_address_until_gc() -> Result<()> {
    let (node, cni) = damaged(|store| fs::write(store.join("10.1.0.3"), ""))?;
    let addresses = given(&node, &cni, 2)?;
    ensure!(addresses == ["10.1.0.2", "10.1.0.4"], "{addresses:?}");
    cni.gc(&[])?;
    cni.ensure_nothing_left()
}

#[test]
fn a_corrupt_file_reserves_its_address_until_gc() -> Result<()> {
    let contents: [&[u8]; 5] =
        [b"\xff\xfe\x00garbage", b"\r\n", b"\r\neth0", b"no interface", &[b'x'; 100_000]];
    for content in contents {
        let (node, cni) = damaged(|store| fs::write(store.join("10.1.0.3"), content))?;
        let addresses = given(&node, &cni, 2)?;
        ensure!(addresses == ["10.1.0.2", "10.1.0.4"], "{addresses:?}");
        cni.del(&node.pod("never-added")?)?;
        ensure!(cni.store()?.join("10.1.0.3").exists(), "DEL of another container removed it");
        cni.gc(&[])?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn a_directory_reserves_the_address_of_its_name() -> Result<()> {
    let (node, cni) = damaged(|store| fs::create_dir(store.join("10.1.0.3")))?;
    let pod = node.pod("a")?;
    let addresses = [cni.add(&pod)?.address()?, cni.add(&node.pod("b")?)?.address()?];
    ensure!(addresses.map(|a| a.to_string()) == ["10.1.0.2", "10.1.0.4"], "{addresses:?}");
    cni.del(&pod)?;
    cni.gc(&[])?;
    cni.ensure_nothing_left()
}

#[test]
fn a_dangling_symlink_reserves_the_address_of_its_name() -> Result<()> {
    let (node, cni) =
        damaged(|store| std::os::unix::fs::symlink("/nonexistent", store.join("10.1.0.3")))?;
    let addresses = given(&node, &cni, 2)?;
    ensure!(addresses == ["10.1.0.2", "10.1.0.4"], "{addresses:?}");
    cni.gc(&[])?;
    cni.ensure_nothing_left()
}

#[test]
fn an_invalid_last_reserved_ip_is_ignored() -> Result<()> {
    let pointers: [&[u8]; 6] =
        [b"", b"garbage", b"\xff\xff", b"192.168.7.7", b"fd00::1", b"10.1.0.255"];
    for pointer in pointers {
        let (node, cni) = damaged(|store| fs::write(store.join("last_reserved_ip.0"), pointer))?;
        let mut addresses = given(&node, &cni, 5)?;
        addresses.sort();
        let all = ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"];
        ensure!(addresses == all, "with {pointer:?}: {addresses:?}");
    }
    Ok(())
}

#[test]
fn a_last_reserved_ip_with_a_newline_is_accepted() -> Result<()> {
    let (node, cni) = damaged(|store| fs::write(store.join("last_reserved_ip.0"), "10.1.0.4\n"))?;
    let addresses = given(&node, &cni, 1)?;
    ensure!(addresses == ["10.1.0.5"], "{addresses:?}");
    Ok(())
}

#[test]
fn files_whose_names_are_not_addresses_are_kept() -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let strange = OsStr::from_bytes(b"\xff\xfe");
    let (node, cni) = damaged(|store| {
        fs::write(store.join("README"), "of the administrator")?;
        fs::write(store.join(strange), "")
    })?;
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    cni.del(&pod)?;
    cni.gc(&[])?;
    ensure!(cni.store()?.join("README").exists() && cni.store()?.join(strange).exists());
    Ok(())
}

#[test]
fn a_corrupt_record_does_not_prevent_the_removal_of_its_pod() -> Result<()> {
    for content in [&b""[..], b"{", b"[]", b"\xff", br#"{"version":99}"#] {
        for collect in [false, true] {
            let (node, cni) = damaged(|_| Ok(()))?;
            let pod = node.pod("a")?;
            let added = cni.add(&pod)?;
            let record = cni.records_dir()?.join(format!("{}.json", added.host()?.name));
            fs::write(&record, content)?;
            if collect {
                cni.gc(&[])?;
            } else {
                cni.del(&pod)?;
            }
            cni.ensure_nothing_left()?;
        }
    }
    Ok(())
}
