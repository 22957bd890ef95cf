//! containerd and runc as Debian ships them, through `ctr run --cni`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::containerd::{Container, Containerd, Family, Image, PAYLOAD_NAME};
use weir_tests::lab::{Cni, Config, Node, binary, eventually, ping};

use crate::conflist::conflist;

const SERVE: [&str; 6] = ["/bin/busybox", "httpd", "-f", "-p", "80", "-h"];

/// A node with a containerd that is configured for the plugin.
///
/// Fields are dropped in their order: the runtime ends before the node is freed.
struct Runtime {
    containerd: Containerd,
    image: Image,
    cni: Cni,
    node: Node,
}

impl Runtime {
    /// containerd's libcni is older than version 1.1.0 of the specification.
    fn start(config: Config) -> Result<Self> {
        let node = Node::new()?;
        let cni = Cni::new(&node, config.version("1.0.0"))?;
        let image = Image::build(&node.dir().join("image"))?;
        let list = conflist(cni.config());
        let containerd = Containerd::start(&node, &list, &binary("weir-cni")?)?;
        containerd.import(&image)?;
        Ok(Self { containerd, image, cni, node })
    }

    /// A container that serves the payload over HTTP.
    fn serve(&self, name: &str) -> Result<Container<'_>> {
        self.containerd.run(name, &[&SERVE[..], &["/srv"]].concat())
    }
}

#[test]
fn two_containers_ping_each_other_and_transfer_both_ways() -> Result<()> {
    let runtime = Runtime::start(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    let (a, b) = (runtime.serve("a")?, runtime.serve("b")?);

    for family in [Family::V4, Family::V6] {
        for (client, server) in [(&a, &b), (&b, &a)] {
            let address = server.address(family)?;
            ping(&runtime.node, address)?;
            client.ping(address)?;
            let url = match family {
                Family::V4 => format!("http://{address}/{PAYLOAD_NAME}"),
                Family::V6 => format!("http://[{address}]/{PAYLOAD_NAME}"),
            };
            assert_eq!(fetch_sha256(client, &url)?, runtime.image.payload_sha256());
        }
    }
    Ok(())
}

#[test]
fn deleting_a_container_leaves_nothing_and_the_other_stays_reachable() -> Result<()> {
    let runtime = Runtime::start(Config::new("10.1.0.0/24"))?;
    let Runtime { containerd, cni, node, .. } = &runtime;
    let (a, b) = (runtime.serve("a")?, runtime.serve("b")?);
    let (of_a, of_b) = (a.address(Family::V4)?, b.address(Family::V4)?);

    let owner = |name| format!("{}\r\neth0", containerd.container_id(name));
    let reserved = cni.reservations()?;
    assert_eq!(reserved.get(&of_a), Some(&owner("a")));
    assert_eq!(reserved.get(&of_b), Some(&owner("b")));
    let cache = containerd.view("/var/lib/cni/results");
    assert_eq!(fs::read_dir(&cache)?.count(), 2, "libcni caches one result each");

    a.stop()?;
    assert_eq!(cni.reservations()?.into_keys().collect::<Vec<_>>(), [of_b]);
    assert_eq!(cni.host_interfaces()?.len(), 1);
    assert_eq!(cni.records()?.len(), 1);
    ping(node, of_b)?;

    b.stop()?;
    cni.ensure_nothing_left()?;
    assert_eq!(fs::read_dir(&cache)?.count(), 0, "libcni has removed both results");
    Ok(())
}

#[test]
fn a_container_without_an_address_does_not_run_and_leaves_nothing() -> Result<()> {
    let range = serde_json::json!([[{
        "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.9"
    }]]);
    let runtime = Runtime::start(Config::with_ranges(range))?;
    let first = runtime.serve("first")?;
    let refused = runtime.serve("second").err().context("there was no address left")?;
    ensure!(format!("{refused:#}").contains("weir-cni"), "the plugin is not named: {refused:#}");

    assert_eq!(runtime.cni.reservations()?.len(), 1);
    assert_eq!(runtime.cni.host_interfaces()?.len(), 1);
    assert_eq!(runtime.cni.records()?.len(), 1);
    ping(&runtime.node, first.address(Family::V4)?)?;
    first.stop()?;
    runtime.cni.ensure_nothing_left()
}

#[test]
fn a_panic_ends_the_runtime_its_containers_and_their_cgroups() -> Result<()> {
    let mut name = String::new();
    let mut running = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let runtime = Runtime::start(Config::new("10.1.0.0/24")).unwrap();
        let _container = runtime.serve("a").unwrap();
        runtime.containerd.namespace().clone_into(&mut name);
        running = processes_of(&name).unwrap();
        panic!("as a failing test does");
    }));
    assert!(panicked.is_err());
    assert!(running.len() >= 3, "containerd, a shim and the container: {running:?}");

    // Clients of the runtime end a little later.
    eventually("no process is left", Duration::from_secs(10), || {
        Ok(processes_of(&name)?.is_empty())
    })?;
    assert!(!std::env::temp_dir().join(&name).exists());
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains(&name));
    for hierarchy in mounts.lines().filter_map(|mount| mount.split(' ').nth(1)) {
        assert!(!Path::new(hierarchy).join(&name).exists(), "a cgroup below {hierarchy}");
    }
    Ok(())
}

/// Downloads with busybox inside of the container and returns the checksum.
///
/// Retries, because `ctr` waits until a container runs, not until it listens.
fn fetch_sha256(client: &Container<'_>, url: &str) -> Result<String> {
    let mut summed = String::new();
    let line = format!("set -o pipefail; wget -q -O - '{url}' | sha256sum");
    eventually(&format!("{url} is served"), Duration::from_secs(10), || {
        let fetched = client.exec(&["/bin/sh", "-c", &line]);
        let fetched_all = fetched.is_ok();
        summed = fetched.unwrap_or_default();
        Ok(fetched_all)
    })?;
    let sum = summed.split_whitespace().next().context("sha256sum printed nothing")?;
    Ok(sum.to_owned())
}

/// The processes that have `name` in their command line or their cgroup.
fn processes_of(name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        // Other entries of /proc have no such files, and processes may end meanwhile.
        let text = ["cmdline", "cgroup"].map(|file| fs::read(process.join(file)));
        let text = text.into_iter().flatten().flatten().collect::<Vec<u8>>();
        if String::from_utf8_lossy(&text).contains(name) {
            found.push(process.display().to_string());
        }
    }
    Ok(found)
}
