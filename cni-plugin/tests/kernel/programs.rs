//! The programs and map entries of a pod: ADD makes them, DEL, GC and a failed ADD remove them.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_datapath::common::{Endpoint, Mac, V4, V6, map};
use weir_datapath::maps::Endpoints;
use weir_datapath::{Capacities, Hook, Pins, Program, list, load};
use weir_tests::lab::{Added, Cni, Config, Node, Observe, Stack, refused};

/// A node whose programs are loaded, and the plugin on it.
struct Scene {
    node: Node,
    pins: Pins,
    cni: Cni,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))
    }

    fn with(config: Config) -> Result<Self> {
        let node = Node::new()?;
        let folder = node.dir().join("bpf");
        node.mount_bpffs(&folder)?;
        let pins = Pins::new(folder.join("weir"));
        node.run(|| Ok(load(&pins, &Capacities::default())?))?;
        let path = pins.folder().to_string_lossy().into_owned();
        let cni = Cni::new(&node, config.with("pinDir", path))?;
        Ok(Self { node, pins, cni })
    }

    fn entry(&self, ip: IpAddr) -> Result<Option<Endpoint>> {
        self.node.run(|| {
            Ok(match ip {
                IpAddr::V4(ip) => {
                    Endpoints::<V4>::open(&self.pins, map::ENDPOINTS_V4)?.get(&ip.into())?
                }
                IpAddr::V6(ip) => {
                    Endpoints::<V6>::open(&self.pins, map::ENDPOINTS_V6)?.get(&ip.into())?
                }
            })
        })
    }

    fn enter(&self, ip: [u8; 4], ifindex: u32) -> Result<()> {
        let endpoint = Endpoint { ifindex, mac: Mac([2, 0, 0, 0, 0, 9]), netns: 0 };
        let open = || Endpoints::<V4>::open(&self.pins, map::ENDPOINTS_V4);
        self.node.run(|| Ok(open()?.set(&V4::new(ip), &endpoint)?))
    }

    fn ifindex(&self, added: &Added) -> Result<u32> {
        let name = &added.host()?.name;
        let path = format!("/sys/class/net/{name}/ifindex");
        let shown = self.node.sh(&format!("ip -o link show {name}"))?;
        let index = shown.split(':').next().with_context(|| format!("no {path}"))?;
        Ok(index.parse()?)
    }

    /// Checks that the maps have no entry.
    fn empty(&self) -> Result<()> {
        let (v4, v6) = self.node.run(|| {
            let v4 = Endpoints::<V4>::open(&self.pins, map::ENDPOINTS_V4)?.entries()?;
            Ok((v4, Endpoints::<V6>::open(&self.pins, map::ENDPOINTS_V6)?.entries()?))
        })?;
        ensure!(v4.is_empty() && v6.is_empty(), "{v4:?} {v6:?}");
        Ok(())
    }
}

fn addresses(added: &Added) -> Vec<IpAddr> {
    added.ips.iter().map(|ip| ip.address.ip()).collect()
}

#[test]
fn a_pod_has_its_programs_and_entries_when_add_returns_and_none_after_del() -> Result<()> {
    let scene = Scene::new()?;
    let pod = scene.node.pod("a")?;
    let added = scene.cni.add(&pod)?;
    let ifindex = scene.ifindex(&added)?;
    let mac = pod.link("eth0")?.mac.context("no address")?;
    for ip in addresses(&added) {
        let entry = scene.entry(ip)?.with_context(|| format!("no entry for {ip}"))?;
        let shown = entry.mac.0.map(|byte| format!("{byte:02x}")).join(":");
        ensure!((entry.ifindex, &shown) == (ifindex, &mac), "{entry:?}");
    }
    scene.node.run(|| {
        for hook in Hook::POD {
            let pinned = Program::open(&scene.pins, hook)?.id();
            let found = list(ifindex, hook)?.map(|found| found.program);
            ensure!(found == Some(pinned), "{hook:?}: {found:?}, not {pinned}");
        }
        Ok(())
    })?;
    scene.cni.check(&pod, &added)?;
    scene.cni.del(&pod)?;
    scene.empty()?;
    scene.cni.ensure_nothing_left()
}

#[test]
fn check_reports_an_entry_of_another_interface() -> Result<()> {
    let scene = Scene::new()?;
    let pod = scene.node.pod("a")?;
    let added = scene.cni.add(&pod)?;
    scene.enter([10, 1, 0, 2], 4711)?;
    let error = refused(scene.cni.check(&pod, &added), 105)?;
    ensure!(error.to_string().contains("10.1.0.2"), "{error}");
    Ok(())
}

#[test]
fn del_keeps_an_entry_that_another_pod_has_now() -> Result<()> {
    let scene = Scene::new()?;
    let pod = scene.node.pod("a")?;
    scene.cni.add(&pod)?;
    scene.enter([10, 1, 0, 2], 4711)?;
    scene.cni.del(&pod)?;
    let left = scene.entry(IpAddr::from([10, 1, 0, 2]))?.map(|entry| entry.ifindex);
    ensure!(left == Some(4711), "{left:?}");
    Ok(())
}

#[test]
fn del_finds_the_entries_of_a_pod_without_a_record() -> Result<()> {
    let scene = Scene::new()?;
    let pod = scene.node.pod("a")?;
    let added = scene.cni.add(&pod)?;
    let record = format!("{}.json", added.host()?.name);
    fs::remove_file(scene.cni.records_dir()?.join(record))?;
    scene.cni.del(&pod)?;
    scene.empty()
}

#[test]
fn an_add_that_fails_late_removes_its_entries() -> Result<()> {
    let route = json!([{ "dst": "10.9.0.0/16", "gw": "172.31.9.9" }]);
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64");
    let scene = Scene::with(config.with_ipam("routes", route).with("isDefaultGateway", false))?;
    refused(scene.cni.add(&scene.node.pod("a")?), 100)?;
    scene.empty()?;
    scene.cni.ensure_nothing_left()
}

#[test]
fn gc_removes_only_entries_of_missing_interfaces() -> Result<()> {
    let scene = Scene::new()?;
    let (kept, gone) = (scene.node.pod("kept")?, scene.node.pod("gone")?);
    let kept_added = scene.cni.add(&kept)?;
    let gone_added = scene.cni.add(&gone)?;
    scene.enter([10, 1, 0, 77], 4711)?;
    scene.cni.gc(&[&kept])?;
    for ip in addresses(&kept_added) {
        ensure!(scene.entry(ip)?.is_some(), "{ip} is gone");
    }
    for ip in addresses(&gone_added).into_iter().chain([IpAddr::from([10, 1, 0, 77])]) {
        ensure!(scene.entry(ip)?.is_none(), "{ip} is there");
    }
    Ok(())
}

#[test]
fn add_fails_if_the_pinned_maps_have_another_layout() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.node.pod("first")?;
    scene.cni.add(&first)?;
    scene.node.run(|| Ok(fs::remove_file(scene.pins.map(map::ENDPOINTS_V4))?))?;
    let error = refused(scene.cni.add(&scene.node.pod("a")?), 106)?;
    let path = scene.pins.folder().to_string_lossy().into_owned();
    ensure!(error.to_string().contains(&path), "{error}");
    // DEL still succeeds.
    scene.cni.del(&first)?;
    scene.cni.ensure_nothing_left()
}

/// The plugin of a release comes to a node before the agent of that release.
#[test]
fn programs_of_an_earlier_release_keep_no_pod_waiting_and_are_not_attached() -> Result<()> {
    let scene = Scene::new()?;
    scene.node.run(|| {
        for hook in Hook::ALL {
            let path = scene.pins.program(hook.program());
            fs::rename(&path, path.with_file_name(hook.program()))?;
        }
        Ok(())
    })?;
    let pod = scene.node.pod("a")?;
    let added = scene.cni.add(&pod)?;
    scene.cni.check(&pod, &added)?;
    scene.empty()?;
    let port = &added.host()?.name;
    let filters = scene.node.sh(&format!("tc filter show dev {port} ingress"))?;
    ensure!(!filters.contains("weir"), "{filters}");
    scene.cni.del(&pod)
}

#[test]
fn add_succeeds_if_an_agent_has_not_pinned_its_programs_yet() -> Result<()> {
    let scene = Scene::new()?;
    scene.node.run(|| {
        for hook in Hook::ALL {
            fs::remove_file(scene.pins.program(hook.program()))?;
        }
        Ok(())
    })?;
    let pod = scene.node.pod("a")?;
    let added = scene.cni.add(&pod)?;
    scene.cni.check(&pod, &added)?;
    scene.empty()?;
    scene.cni.del(&pod)
}
