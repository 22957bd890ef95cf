//! The directory of pinned programs: without programs, pods get plain bridge networking.

use std::fs;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node, ping, refused};

#[test]
fn without_pinned_programs_pods_get_bridge_networking_and_a_debug_message() -> Result<()> {
    for exists in [false, true] {
        let node = Node::new()?;
        let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
        let pins = node.dir().join("pinDir");
        if exists {
            fs::create_dir(&pins)?;
        }
        let (a, b) = (node.pod("a")?, node.pod("b")?);
        let quiet = cni.call("ADD").pod(&a).run()?;
        ensure!(!quiet.stderr.contains("DEBUG"), "{}", quiet.stderr);
        let verbose = cni.reconfigured(|config| config.with("logLevel", "debug"));
        let reply = verbose.call("ADD").pod(&b).run()?;
        let path = pins.to_string_lossy().into_owned();
        let logged = reply.stderr.lines().any(|l| l.contains("DEBUG") && l.contains(&path));
        ensure!(logged, "no line at debug level names {path}: {}", reply.stderr);
        ping(&a, reply.added()?.address()?)?;
        ensure!(pins.exists() == exists, "the plugin created the pin directory");
    }
    Ok(())
}

#[test]
fn the_environment_overrides_the_configured_log_level() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24").with("logLevel", "error"))?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let reply = cni.call("ADD").pod(&a).env("WEIR_CNI_LOG", "debug").run()?;
    ensure!(reply.stderr.contains("DEBUG"), "{}", reply.stderr);
    reply.added()?;
    let reply = cni.call("ADD").pod(&b).run()?;
    ensure!(reply.stderr.is_empty(), "{}", reply.stderr);
    reply.added()?;
    Ok(())
}

#[test]
fn add_fails_if_the_pinned_programs_cannot_be_attached() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pins = node.dir().join("pinDir");
    fs::create_dir(&pins)?;
    fs::write(pins.join("from_pod"), "")?;
    let error = refused(cni.add(&node.pod("a")?), 106)?;
    ensure!(error.to_string().contains(&*pins.to_string_lossy()), "{error}");
    cni.ensure_nothing_left()
}
