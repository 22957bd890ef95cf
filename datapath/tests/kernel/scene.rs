//! A node with a bridge, pods on it, and the programs at their veths.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use weir_datapath::common::{
    Backend, Config, Endpoint, Mac, Port, Reason, Scope, Service, ServiceKey, V4, V6,
};
use weir_datapath::maps::{
    Backends, ConfigMap, Counters, Endpoints, Family, Services, Slots, Table,
};
use weir_datapath::{Capacities, Hook, Loaded, Pins, Program, attach, load};
use weir_tests::lab::{Node, Pod, Stack};

use crate::family::Addresses;

pub(crate) const MASQUERADE: u32 = 0x100;

/// A node whose pods have the programs.
pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) pins: Pins,
    pub(crate) loaded: Loaded,
    pub(crate) pods: Vec<Pod>,
    slots: u32,
    backends: u32,
}

impl Scene {
    /// A node with so many pods.
    pub(crate) fn with_pods(count: u8) -> Result<Self> {
        Self::node(1, count)
    }

    /// A node with so many pods, and maps that have room for so much.
    pub(crate) fn with_capacities(count: u8, capacities: &Capacities) -> Result<Self> {
        Self::make(1, count, capacities)
    }

    /// The first or the second node, with so many pods.
    pub(crate) fn node(number: u8, count: u8) -> Result<Self> {
        Self::make(number, count, &Capacities::default())
    }

    fn make(number: u8, count: u8, capacities: &Capacities) -> Result<Self> {
        let node = Node::new()?;
        let folder: PathBuf = node.dir().join("bpf");
        node.mount_bpffs(&folder)?;
        let pins = Pins::new(folder.join("weir"));
        let loaded = node.run(|| Ok(load(&pins, capacities)?))?;
        for line in [
            "ip link add weir0 mtu 1450 type bridge".to_owned(),
            format!("ip link set weir0 address 0a:58:0a:f4:{number:02x}:01"),
            format!("ip addr add 10.244.{number}.1/24 dev weir0"),
            format!("ip -6 addr add fd00:244:{number}::1/64 dev weir0 nodad"),
            "ip link set weir0 up".to_owned(),
        ] {
            node.sh(&line)?;
        }
        for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            node.set_sysctl(name, "1")?;
        }
        let mut scene = Self { node, pins, loaded, pods: Vec::new(), slots: 0, backends: 0 };
        let settings = Config { masquerade_mark: MASQUERADE, ..Config::default() };
        scene.set(settings)?;
        for pod in 0..count {
            scene.add_pod(number, pod)?;
        }
        Ok(scene)
    }

    /// Tells the programs something. They check who pods send as, as they do by default.
    pub(crate) fn set(&self, settings: Config) -> Result<()> {
        let flags = settings.flags | Config::SOURCE_CHECK;
        self.set_exactly(Config { flags, ..settings })
    }

    /// Tells the programs this and nothing else.
    pub(crate) fn set_exactly(&self, settings: Config) -> Result<()> {
        self.node.run(|| Ok(ConfigMap::open(&self.pins)?.set(settings)?))
    }

    fn add_pod(&mut self, node: u8, number: u8) -> Result<()> {
        let pod = self.node.pod(&format!("pod{number}"))?;
        let (veth, mac) = (format!("veth{number}"), [0x0a, 0x58, 10, 244, node, 10 + number]);
        let address = mac.map(|byte| format!("{byte:02x}")).join(":");
        let netns = pod.netns().display().to_string();
        self.node
            .command("ip")?
            .args(["link", "add", &veth, "mtu", "1450", "type", "veth", "peer", "name", "eth0"])
            .args(["address", &address, "mtu", "1450", "netns", &netns])
            .stdout()?;
        let v4 = Ipv4Addr::from(V4::pod((node - 1) * 100 + number));
        let v6 = Ipv6Addr::from(V6::pod((node - 1) * 100 + number));
        for line in [
            format!("ip link set {veth} master weir0 up"),
            format!("bridge link set dev {veth} hairpin on"),
            format!("bridge fdb replace {address} dev {veth} master static"),
        ] {
            self.node.sh(&line)?;
        }
        for line in [
            format!("ip addr add {v4}/24 dev eth0"),
            format!("ip -6 addr add {v6}/64 dev eth0 nodad"),
            "ip link set eth0 up".to_owned(),
            format!("ip route add default via 10.244.{node}.1"),
            format!("ip -6 route add default via fd00:244:{node}::1"),
        ] {
            pod.sh(&line)?;
        }
        let ifindex = self.ifindex(&veth)?;
        let netns = Endpoint::netns_field(self.netns_of(&veth)?);
        self.node.run(|| {
            for hook in Hook::POD {
                attach(ifindex, &Program::open(&self.pins, hook)?)?;
            }
            let endpoint = Endpoint { ifindex, mac: Mac(mac), netns };
            Endpoints::open(&self.pins, V4::ENDPOINTS)?.set(&V4::from(v4), &endpoint)?;
            let mut endpoints = Endpoints::open(&self.pins, V6::ENDPOINTS)?;
            endpoints.set(&V6::from(v6), &endpoint)?;
            endpoints.set(&endpoint.mac.link_local(), &endpoint)?;
            Ok(())
        })?;
        self.pods.push(pod);
        Ok(())
    }

    pub(crate) fn ifindex(&self, device: &str) -> Result<u32> {
        self.node.run(|| {
            let path = format!("/sys/class/net/{device}/ifindex");
            let text = self.node.sh(&format!("ip -o link show {device}"))?;
            let index = text.split(':').next().with_context(|| format!("no index in {path}"))?;
            Ok(index.parse()?)
        })
    }

    /// The node's number of the namespace that the other end of a veth is in.
    fn netns_of(&self, veth: &str) -> Result<Option<u32>> {
        let text = self.node.sh(&format!("ip -j link show {veth}"))?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        let number = links.first().and_then(|link| link.get("link_netnsid")?.as_u64());
        Ok(number.map(u32::try_from).transpose()?)
    }

    /// Bytes that a device of the node has sent.
    pub(crate) fn transmitted(&self, device: &str) -> Result<u64> {
        let text = self.node.sh(&format!("ip -s -j link show {device}"))?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        let bytes = links.first().and_then(|link| link.pointer("/stats64/tx/bytes"));
        bytes.and_then(serde_json::Value::as_u64).context("no statistics")
    }

    /// A frontend with these backends.
    pub(crate) fn service<A: Addresses>(
        &mut self,
        key: (A, u16, u8),
        backends: &[(A, u16)],
    ) -> Result<Vec<u32>> {
        self.service_with(key, backends, Service::default())
    }

    /// The same with flags or affinity.
    pub(crate) fn service_with<A: Addresses>(
        &mut self,
        (address, port, protocol): (A, u16, u8),
        backends: &[(A, u16)],
        service: Service,
    ) -> Result<Vec<u32>> {
        let offset = self.slots;
        let first = self.backends + 1;
        let ids: Vec<u32> = (first..).take(backends.len()).collect();
        self.slots += u32::try_from(backends.len())?;
        self.backends += u32::try_from(backends.len())?;
        let id = 1000 + offset + u32::from(protocol) + self.backends * 7;
        self.node.run(|| {
            let mut table = Backends::<A>::open(&self.pins, A::BACKENDS)?;
            for (id, (address, port)) in ids.iter().zip(backends) {
                let flags = Backend::<A>::SERVING | Backend::<A>::IN_CLUSTER_SET;
                table.set(id, &Backend { address: *address, port: Port::new(*port), flags })?;
            }
            Slots::open(&self.pins)?.set(offset, &ids)?;
            let mut services = Services::<A>::open(&self.pins, A::SERVICES)?;
            let count = u32::try_from(ids.len())?;
            let value = Service { id, offset, count, ..service };
            let scope = Scope::Internal;
            services.set(&ServiceKey::new(address, Port::new(port), protocol, scope), &value)?;
            services.set(&ServiceKey::unknown_port_guard(address, scope), &Service::default())?;
            Ok(())
        })?;
        Ok(ids)
    }

    /// How often a reason was counted.
    pub(crate) fn counted(&self, reason: Reason) -> Result<u64> {
        self.node.run(|| Ok(Counters::open(&self.pins)?.get(reason)?))
    }

    /// A map.
    pub(crate) fn table<K: aya::Pod + Send, V: aya::Pod + Send>(
        &self,
        map: weir_datapath::common::map::Map,
    ) -> Result<Table<K, V>> {
        self.node.run(|| Ok(Table::open(&self.pins, map)?))
    }
}
