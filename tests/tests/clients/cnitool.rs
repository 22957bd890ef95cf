//! libcni through its own command line tool, with a list of version 1.1.0.
//!
//! `cargo xtask setup` builds the tool from Go's module proxy if Go is installed. Without Go, only
//! containerd's libcni is tested.

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use weir_tests::lab::{
    Added, Cni, Config, Finished, Node, Observe, Pod, Stack, Tool, binary, ping,
};

use crate::conflist::conflist;

/// `cnitool` on a node, with one network.
struct CniTool {
    program: PathBuf,
    cni: Cni,
    node: Node,
}

impl CniTool {
    /// `None` on a machine without Go, with a message on standard error.
    fn new(config: Config) -> Result<Option<Self>> {
        let Some(program) = find_cnitool()? else {
            return Ok(None);
        };
        let node = Node::new()?;
        // libcni caches results in /var/lib/cni, and has no option for another directory.
        node.sh("mount -t tmpfs tmpfs /var/lib")?;
        let cni = Cni::new(&node, config)?;
        let networks = node.dir().join("net.d");
        fs::create_dir(&networks).context("create the directory for networks")?;
        fs::write(networks.join("10-pods.conflist"), conflist(cni.config()))
            .context("write the conflist")?;
        Ok(Some(Self { program, cni, node }))
    }

    fn call(&self, verb: &str, pod: &Pod) -> Result<Tool> {
        let plugins = binary("weir-cni")?;
        let plugins = plugins.parent().context("the plugin has no parent directory")?;
        let tool = self
            .node
            .command(&self.program)?
            .args([verb, "pods"])
            .arg(pod.netns())
            .env("NETCONFPATH", self.node.dir().join("net.d"))
            .env("CNI_PATH", plugins);
        Ok(tool)
    }

    fn add(&self, pod: &Pod) -> Result<Added> {
        let printed = self.call("add", pod)?.stdout()?;
        serde_json::from_str(&printed).with_context(|| format!("the result of ADD: {printed}"))
    }

    fn succeeds(&self, verb: &str, pod: &Pod) -> Result<()> {
        let printed = self.call(verb, pod)?.stdout()?;
        ensure!(printed.is_empty(), "cnitool {verb} printed {printed}");
        Ok(())
    }

    /// The tool's error message.
    fn fails(&self, verb: &str, pod: &Pod) -> Result<String> {
        let Finished { status, stderr, .. } = self.call(verb, pod)?.finish()?;
        ensure!(!status.success(), "cnitool {verb} succeeded");
        Ok(stderr)
    }

    /// Removes libcni's cache, so that only the plugin knows of attachments.
    fn remove_cache(&self) -> Result<()> {
        self.node.sh("rm -r /var/lib/cni")?;
        Ok(())
    }
}

fn find_cnitool() -> Result<Option<PathBuf>> {
    let tools = env::var_os("WEIR_TOOLS_DIR").map(PathBuf::from);
    let built = tools.map(|folder| folder.join("cnitool")).filter(|program| program.exists());
    if built.is_none() {
        let path = env::var_os("PATH").unwrap_or_default();
        if env::split_paths(&path).any(|folder| folder.join("go").exists()) {
            bail!("Go is installed, but there is no cnitool in $WEIR_TOOLS_DIR: cargo xtask setup");
        }
        // Not `eprintln!`, whose output the test harness hides when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "Go is not installed, so there is no cnitool: only containerd's libcni is tested"
        );
    }
    Ok(built)
}

#[test]
fn cnitool_adds_checks_and_deletes() -> Result<()> {
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64");
    let Some(tool) = CniTool::new(config)? else {
        return Ok(());
    };
    let pod = tool.node.pod("a")?;
    tool.succeeds("status", &pod)?;
    let added = tool.add(&pod)?;
    ping(&tool.node, added.address()?)?;
    ping(&tool.node, added.ipv6()?)?;
    tool.succeeds("check", &pod)?;

    pod.sh("ip link set eth0 mtu 1300")?;
    let error = tool.fails("check", &pod)?;
    ensure!(error.contains("1300"), "the difference is not named: {error}");

    tool.succeeds("del", &pod)?;
    tool.cni.ensure_nothing_left()?;
    ensure!(pod.find_link("eth0")?.is_none());
    tool.succeeds("del", &pod)
}

/// `cnitool gc` deletes all attachments of the network that libcni has cached, then calls GC without the
/// list of valid attachments that the specification requires. A missing list is not an empty list.
#[test]
fn cnitool_gc_deletes_cached_attachments_and_no_other_pod() -> Result<()> {
    let Some(tool) = CniTool::new(Config::new("10.1.0.0/24"))? else {
        return Ok(());
    };
    let (a, b) = (tool.node.pod("a")?, tool.node.pod("b")?);
    let of_a = tool.add(&a)?.address()?;
    tool.remove_cache()?;
    tool.add(&b)?;
    let error = tool.fails("gc", &a)?;
    ensure!(error.contains("cni.dev/valid-attachments"), "{error}");

    ensure!(b.find_link("eth0")?.is_none(), "libcni has deleted b");
    ping(&tool.node, of_a)?;
    tool.succeeds("del", &a)?;
    tool.cni.ensure_nothing_left()
}

#[test]
fn cnitool_reports_exhausted_addresses() -> Result<()> {
    let range = json!([[{
        "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.9"
    }]]);
    let Some(tool) = CniTool::new(Config::with_ranges(range))? else {
        return Ok(());
    };
    let (a, b) = (tool.node.pod("a")?, tool.node.pod("b")?);
    tool.add(&a)?;
    for verb in ["status", "add"] {
        let error = tool.fails(verb, &b)?;
        ensure!(error.contains("10.1.0.9"), "{verb} does not name the range: {error}");
    }
    tool.succeeds("del", &a)?;
    tool.succeeds("status", &b)?;
    tool.add(&b)?;
    tool.succeeds("del", &b)?;
    tool.cni.ensure_nothing_left()
}

#[test]
fn cnitool_passes_the_requested_address() -> Result<()> {
    let config = Config::new("10.1.0.0/24").with("capabilities", json!({ "ips": true }));
    let Some(tool) = CniTool::new(config)? else {
        return Ok(());
    };
    let pod = tool.node.pod("a")?;
    let capabilities = json!({ "ips": ["10.1.0.77/24"] }).to_string();
    let printed = tool.call("add", &pod)?.env("CAP_ARGS", &capabilities).stdout()?;
    let added: Added = serde_json::from_str(&printed)?;
    assert_eq!(added.address()?.to_string(), "10.1.0.77");
    tool.succeeds("del", &pod)?;
    tool.cni.ensure_nothing_left()
}
