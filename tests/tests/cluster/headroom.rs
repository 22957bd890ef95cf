//! The agent reports limits of the kernel before they are reached.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Member, Stack, until};

fn wait_for_log(node: &Member, words: &str) -> Result<()> {
    until(&format!("the log has {words:?}"), || {
        ensure!(node.log().contains(words), "not yet");
        Ok(())
    })
}

fn batch(node: &Member, lines: impl Iterator<Item = String>) -> Result<()> {
    let lines: String = lines.collect();
    node.command("ip")?.args(["-batch", "-"]).stdin(lines).stdout().map(drop)
}

fn ports(node: &Member) -> Result<Option<f64>> {
    Ok(node.get("/metrics")?.metric("weir_bridge_ports"))
}

#[test]
fn a_nearly_full_bridge_is_reported_before_add_fails() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        // Keeps the pod and its port.
        let _pod = node.pod("pod")?;
        until("the pod's port is counted", || {
            ensure!(ports(node)? == Some(1.0), "{:?}", ports(node)?);
            Ok(())
        })?;
        let add = |n| format!("link add p{n} master weir0 type veth peer name q{n}\n");
        batch(node, (2..=920).map(add))?;
        until("all ports are counted", || {
            ensure!(ports(node)? == Some(920.0), "{:?}", ports(node)?);
            Ok(())
        })?;
        ensure!(!node.log().contains("BridgePortsScarce"), "{}", node.log());
        batch(node, [add(921)].into_iter())?;
        wait_for_log(
            node,
            "nine tenths of the 1023 ports that the kernel gives a bridge are taken on weir0",
        )?;
        node.ready()?;
        batch(node, (922..=1023).map(add))?;
        wait_for_log(node, "all of the 1023 ports")?;
        batch(node, (900..=1023).map(|n| format!("link del p{n}\n")))?;
        wait_for_log(node, "over: all of the 1023 ports")
    })
}

/// Thresholds of the IPv4 neighbour table that are too small for any node. Only the first network
/// namespace of a machine has the real ones, which a test must not change. These are files in a
/// directory that has everything else from the kernel.
struct SmallTable {
    root: PathBuf,
}

impl SmallTable {
    const SMALL: [&'static str; 3] = ["16", "64", "128"];

    fn new(dir: &Path) -> Result<Self> {
        let root = dir.join("sys");
        fs::create_dir_all(root.join("net/ipv4/neigh/default"))?;
        for shared in ["net/ipv4/ip_forward", "net/ipv4/conf", "net/ipv6"] {
            symlink(Path::new("/proc/sys").join(shared), root.join(shared))?;
        }
        let table = Self { root };
        table.reset()?;
        Ok(table)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.root.join(format!("net/ipv4/neigh/default/gc_thresh{number}"))
    }

    fn reset(&self) -> Result<()> {
        for (number, value) in (1..).zip(Self::SMALL) {
            fs::write(self.path(number), value)?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<String>> {
        (1..=3).map(|number| Ok(fs::read_to_string(self.path(number))?)).collect()
    }
}

#[test]
fn a_neighbour_table_that_is_too_small_is_enlarged_or_reported() -> Result<()> {
    Cluster::new(1).stopped().test(|cluster| {
        let node = cluster.node(1)?;
        let table = SmallTable::new(node.machine().dir())?;
        let root = table.root.to_str().context("not UTF-8")?;
        node.start_agent_with(&["--proc-sys", root])?;
        until("the thresholds are raised", || {
            let found = table.read()?;
            ensure!(found == ["32", "128", "256"], "{found:?}");
            Ok(())
        })?;
        until("ready", || node.ready())?;
        node.kill_agent()?;

        table.reset()?;
        let directory = format!("{root}/net/ipv4/neigh");
        node.sh(&format!("mount --bind {directory} {directory}"))?;
        node.sh(&format!("mount -o remount,bind,ro {directory}"))?;
        node.start_agent_with(&["--proc-sys", root, "--resync-seconds=1"])?;
        wait_for_log(node, "Set on the node net.ipv4.neigh.default.gc_thresh3=256")?;
        wait_for_log(node, "Read-only file system")?;
        // The node is ready nevertheless.
        until("ready", || node.ready())?;
        ensure!(table.read()? == SmallTable::SMALL, "{:?}", table.read()?);
        let limit = node.get("/metrics")?.metric("weir_neighbours_limit");
        ensure!(limit == Some(128.0), "{limit:?}");
        Ok(())
    })
}
