//! The CNI configuration is written only when pods can be attached, and STATUS fails when they cannot.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Cluster, Cni, CniError, Families, NodeManifest, refused, until};

use crate::fixture::fake_node;

/// STATUS in a newer version than that of the configuration, which does not have it.
fn status(cni: &Cni) -> Result<()> {
    cni.reconfigured(|config| config.version("1.1.0")).status()
}

#[test]
fn the_cni_configuration_is_written_last() -> Result<()> {
    Cluster::new(1).stopped().test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let peers: Vec<NodeManifest> = (20..=220).map(fake_node).collect();
        for peer in &peers {
            manifests.put(peer)?;
        }
        node.start_agent()?;
        until("the CNI configuration exists", || {
            ensure!(node.conflist().exists(), "not yet");
            Ok(())
        })?;
        // All entries must exist already, without waiting.
        node.check_peers(&peers)?;
        ensure!(node.run_dir().join("subnet.env").exists(), "no subnet.env");
        node.pod("pod")?;
        until("ready", || node.ready())
    })
}

#[test]
fn the_cni_configuration_has_the_settings_of_the_node() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).test(|cluster| {
        let node = cluster.node(1)?;
        let list: Value = serde_json::from_slice(&fs::read(node.conflist())?)?;
        let plugin = list.pointer("/plugins/0").context("no plugin")?;
        ensure!(list["cniVersion"] == "1.0.0" && plugin["type"] == "weir-cni", "{list:#}");
        for (path, expected) in [
            ("/bridge", "weir0".to_owned()),
            ("/runDir", node.run_dir().display().to_string()),
            ("/ipam/type", "host-local".to_owned()),
            ("/ipam/ranges/0/0/subnet", "10.244.1.0/24".to_owned()),
            ("/ipam/ranges/1/0/subnet", "fd44:0:0:1::/64".to_owned()),
        ] {
            let found = plugin.pointer(path).with_context(|| format!("no {path} in {list:#}"))?;
            ensure!(*found == expected, "{path} is {found}, not {expected}");
        }
        let entries: Vec<_> = fs::read_dir(node.conflist().parent().context("no parent")?)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        ensure!(entries == ["10-weir.conflist"], "{entries:?}");
        status(&node.cni()?)
    })
}

#[test]
fn pods_are_refused_until_the_agent_has_run_since_the_boot() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        node.pod("before")?.detach()?;
        let cni = node.cni()?;
        // A reboot removes the run directory and the kernel's state; the CNI configuration stays.
        node.kill_agent()?;
        fs::remove_dir_all(node.run_dir())?;
        let names_the_agent = |error: &CniError| error.to_string().contains("weir-agent");
        let error = refused(status(&cni), 50)?;
        ensure!(names_the_agent(&error), "{error}");
        let pod = node.machine().pod("pod")?;
        let error = cni.add(&pod).err().context("a pod was added")?.downcast::<CniError>()?;
        ensure!(names_the_agent(&error), "{error}");
        cni.ensure_nothing_left()?;
        node.start_agent()?;
        until("the agent is ready", || node.ready())?;
        status(&cni)?;
        cni.add(&pod).map(drop)
    })
}

#[test]
fn the_agent_installs_the_plugin_and_replaces_an_older_one() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        let installed = node.machine().dir().join("bin/weir-cni");
        let expected = fs::read(weir_tests::lab::binary("weir-cni")?)?;
        ensure!(fs::read(&installed)? == expected, "another file is installed");
        node.kill_agent()?;
        fs::write(&installed, "an older plugin")?;
        node.start_agent()?;
        until("the plugin is replaced", || {
            ensure!(fs::read(&installed)? == expected, "not yet");
            Ok(())
        })?;
        until("ready", || node.ready())?;
        node.pod("pod").map(drop)
    })
}
