//! A node with ten thousand Services of ten endpoints each: nothing is lost, nothing is listed twice.
//!
//! How long each command takes is printed (`--nocapture`) and not judged.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_datapath::common::{
    Backend, Flow, FlowKey, Port, Scope, Service, ServiceKey, V4, map, protocol,
};
use weir_datapath::maps::{Backends, Flows, Services, Slots};
use weir_datapath::{Capacities, Pins, load};
use weir_tests::lab::{Finished, Node, Stack};

const SERVICES: u32 = 10_000;
const EACH: u32 = 10;
const FLOWS: u32 = 50_000;
const PORT: u16 = 80;
const TARGET: u16 = 8080;

/// A node whose maps are full of Services.
struct Scene {
    node: Node,
    pins: Pins,
}

fn frontend(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + number)
}

fn backend(id: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0af4_0000 + id)
}

impl Scene {
    fn new() -> Result<Self> {
        let node = Node::new()?;
        let folder = node.dir().join("bpf");
        node.mount_bpffs(&folder)?;
        let pins = Pins::new(folder.join("weir"));
        node.run(|| Ok(load(&pins, &Capacities::default())?))?;
        let scene = Self { node, pins };
        scene.node.run(|| scene.fill())?;
        Ok(scene)
    }

    fn fill(&self) -> Result<()> {
        let pins = &self.pins;
        let mut services = Services::<V4>::open(pins, map::SERVICES_V4)?;
        let mut backends = Backends::<V4>::open(pins, map::BACKENDS_V4)?;
        let mut slots = Slots::open(pins)?;
        let flags = Backend::<V4>::SERVING | Backend::<V4>::IN_CLUSTER_SET;
        for number in 0..SERVICES {
            let ids: Vec<_> = (number * EACH + 1..).take(EACH as usize).collect();
            for id in &ids {
                let address = V4::from(backend(*id));
                backends.set(id, &Backend { address, port: Port::new(TARGET), flags })?;
            }
            slots.set(number * EACH, &ids)?;
            let (id, offset, count) = (number + 1, number * EACH, EACH);
            let key = ServiceKey::new(
                V4::from(frontend(number)),
                Port::new(PORT),
                protocol::TCP,
                Scope::Internal,
            );
            services.set(&key, &Service { id, offset, count, ..Service::default() })?;
            let rest = ServiceKey::unknown_port_guard(V4::from(frontend(number)), Scope::Internal);
            services.set(&rest, &Service::default())?;
        }
        self.fill_flows()
    }

    /// A flow to the first backend of a Service, again and again.
    fn fill_flows(&self) -> Result<()> {
        let mut flows = Flows::<V4>::open(&self.pins, map::FLOWS_TCP_V4)?;
        for number in 0..FLOWS {
            let service = number % SERVICES;
            let id = service * EACH + 1;
            let source_port = Port::new(u16::try_from(1024 + number / SERVICES)?);
            let key = FlowKey {
                source: V4::from(Ipv4Addr::new(10, 244, 255, 2)),
                destination: V4::from(frontend(service)),
                source_port,
                destination_port: Port::new(PORT),
                protocol: protocol::TCP,
                ..FlowKey::default()
            };
            let flow = Flow {
                address: V4::from(backend(id)),
                port: Port::new(TARGET),
                nat_port: source_port,
                backend: id,
                service: service + 1,
                flags: Flow::<V4>::ANSWERED | Flow::<V4>::ESTABLISHED,
                ..Flow::default()
            };
            flows.set(&key, &flow)?;
            flows.set(&flow.reverse_key(&key), &flow.peer_entry(&key))?;
        }
        Ok(())
    }

    fn weir(&self, words: &[&str]) -> Result<(Option<i32>, String)> {
        let began = Instant::now();
        let tool = self.node.command(env!("CARGO_BIN_EXE_weir"))?.args(words);
        let tool = tool.arg("--pin-dir").arg(self.pins.folder());
        let tool = tool.arg("--run-dir").arg(self.node.dir().join("run"));
        let Finished { status, stdout, stderr } = tool.finish()?;
        eprintln!("weir {}: {:?}", words.join(" "), began.elapsed());
        ensure!(stderr.is_empty(), "{stderr}");
        Ok((status.code(), String::from_utf8(stdout)?))
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let (_, text) = self.weir(&[words, &["-o", "json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }
}

fn address(value: &Value, field: &str) -> Result<IpAddr> {
    Ok(value[field].as_str().with_context(|| format!("no {field} in {value:#}"))?.parse()?)
}

#[test]
fn ten_thousand_services_are_listed_with_all_their_backends_and_flows() -> Result<()> {
    let scene = Scene::new()?;
    let listed = scene.json(&["services"])?;
    let listed = listed.as_array().context("no list")?;
    ensure!(listed.len() == SERVICES as usize, "{} Services", listed.len());
    for (number, service) in (0..).zip(listed) {
        ensure!(address(service, "address")? == frontend(number), "{service:#}");
        ensure!(service["flows"] == FLOWS / SERVICES, "{service:#}");
        let backends = service["backends"].as_array().context("no backends")?;
        let found: Result<HashSet<_>> = backends.iter().map(|b| address(b, "address")).collect();
        let wanted = (number * EACH + 1..).take(EACH as usize).map(|id| backend(id).into());
        ensure!(found? == wanted.collect::<HashSet<IpAddr>>(), "{service:#}");
    }
    let (_, text) = scene.weir(&["services"])?;
    ensure!(text.lines().filter(|line| line.contains("10 backends")).count() == SERVICES as usize);
    let (_, text) = scene.weir(&["services", "--backends"])?;
    ensure!(text.lines().filter(|line| line.contains("->")).count() == (SERVICES * EACH) as usize);
    let one = scene.json(&["services", "10.96.0.7"])?;
    ensure!(one.as_array().context("no list")?.len() == 1, "{one:#}");
    Ok(())
}

#[test]
fn flows_and_maps_of_ten_thousand_services_are_counted_in_full() -> Result<()> {
    let scene = Scene::new()?;
    let listing = scene.json(&["flows"])?;
    ensure!(listing["total"] == FLOWS && listing["limited"] == true, "{}", listing["total"]);
    let all = scene.json(&["flows", "--limit", "1000000"])?;
    let flows = all["flows"].as_array().context("no flows")?;
    let clients: HashSet<_> = flows
        .iter()
        .map(|f| (f["service_address"].to_string(), f["client_port"].to_string()))
        .collect();
    ensure!(clients.len() == FLOWS as usize, "{} flows", clients.len());
    let (_, text) = scene.weir(&["flows"])?;
    ensure!(text.contains("only 100 shown"), "{text}");
    let status = scene.json(&["status"])?;
    let maps = status["maps"].as_array().context("no maps")?;
    let entries =
        |name: &str| maps.iter().find(|map| map["map"] == name).map(|map| map["entries"].clone());
    ensure!(entries("backends_v4") == Some((SERVICES * EACH).into()), "{maps:#?}");
    ensure!(entries("slots") == Some((SERVICES * EACH).into()), "{maps:#?}");
    ensure!(entries("flows_tcp_v4") == Some((FLOWS * 2).into()), "{maps:#?}");
    scene.weir(&["endpoints"])?;
    Ok(())
}
