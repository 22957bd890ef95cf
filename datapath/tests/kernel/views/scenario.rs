//! Tables as they could be, and as they should not be.

use rustix::time::{ClockId, clock_gettime};
use weir_datapath::common::{
    Affinity, AffinityKey, Backend, Config, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Hook,
    Mac, Port, Route, RouteKind, Scope, Service, ServiceKey, protocol,
};
use weir_datapath::maps::Family;

use super::dice::Dice;
use crate::family::Addresses;
use crate::scene::MASQUERADE;

/// Sequence numbers of TCP.
pub(super) const SEQUENCES: [u32; 2] = [7, 8];
/// Identifications of fragments, as they lie in memory.
pub(super) const IDS: [u32; 2] = [0x0100, 0x0200];

const PROTOCOLS: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::SCTP];
const CLIENT_PORTS: [u16; 3] = [4000, 4001, 61_000];
const SERVICE_PORTS: [u16; 3] = [53, 80, 8080];
/// Affinity of Services, in seconds.
const AFFINITY: u32 = 100;

/// The node's devices: of its pods, and of the tunnel.
#[derive(Clone, Copy)]
pub(super) struct Devices {
    pub(super) pods: [u32; 3],
    pub(super) tunnel: u32,
}

/// What the tables hold.
pub(super) struct Scenario<A: Family> {
    pub(super) config: Config,
    pub(super) slots: Vec<u32>,
    pub(super) services: Vec<(ServiceKey<A>, Service)>,
    pub(super) backends: Vec<(u32, Backend<A>)>,
    pub(super) endpoints: Vec<(A, Endpoint)>,
    pub(super) routes: Vec<(u32, A, Route<A>)>,
    pub(super) flows: Vec<(FlowKey<A>, Flow<A>)>,
    pub(super) affinity: Vec<(AffinityKey<A>, Affinity)>,
    pub(super) fragments: Vec<(FragmentKey<A>, Fragment)>,
}

/// Pods of this node.
pub(super) fn local_pods<A: Addresses>() -> [A; 3] {
    [A::pod(0), A::pod(1), A::pod(2)]
}

fn remote_pods<A: Addresses>() -> [A; 2] {
    [A::pod(100), A::pod(200)]
}

/// Addresses of Services, the last of which is nobody's.
fn frontends<A: Addresses>() -> [A; 4] {
    [A::service(1), A::service(2), A::service(3), A::service(250)]
}

/// Any address.
pub(super) fn anybody<A: Addresses>(dice: &mut Dice) -> A {
    match dice.below(20) {
        0..8 => dice.pick(&local_pods()),
        8..12 => dice.pick(&remote_pods()),
        12..18 => dice.pick(&frontends()),
        18 => A::bridge(),
        _ => A::service(251),
    }
}

/// A key that packets of this scenario could have.
pub(super) fn any_key<A: Addresses>(dice: &mut Dice) -> FlowKey<A> {
    let pod_sends = dice.chance(80);
    let source = if pod_sends { dice.pick(&local_pods()) } else { anybody(dice) };
    let ports = [Port::new(dice.pick(&CLIENT_PORTS)), Port::new(dice.pick(&SERVICE_PORTS))];
    let [source_port, destination_port] =
        if dice.chance(85) { ports } else { [ports[1], ports[0]] };
    FlowKey {
        source,
        destination: anybody(dice),
        source_port,
        destination_port,
        protocol: dice.pick(&[6, 6, 6, 17, 17, 132]),
        reserved: [0; 3],
    }
}

impl<A: Addresses> Scenario<A> {
    pub(super) fn new(dice: &mut Dice, devices: Devices) -> Self {
        let now = u32::try_from(clock_gettime(ClockId::Monotonic).tv_sec).expect("seconds");
        let mut scenario = Self {
            config: Config {
                flags: if dice.chance(75) { Config::FAST_PATH } else { 0 }
                    | if dice.chance(75) { Config::SOURCE_CHECK } else { 0 },
                tunnel_port: dice.pick(&[0, 8080]),
                masquerade_mark: MASQUERADE,
                udp_idle: dice.pick(&[0, 100]),
                ..Config::default()
            },
            slots: (0..6).map(|_| u32::try_from(dice.below(9)).expect("small") + 1).collect(),
            services: Vec::new(),
            backends: Vec::new(),
            endpoints: Vec::new(),
            routes: routes(dice, devices),
            flows: Vec::new(),
            affinity: Vec::new(),
            fragments: Vec::new(),
        };
        for (pod, ifindex) in local_pods::<A>().into_iter().zip(devices.pods) {
            if dice.chance(85) {
                let own = dice.chance(90);
                let ifindex = if own { ifindex } else { dice.pick(&devices.pods) };
                let mac = Mac([0x0a, 0x58, 1, 2, 3, ifindex.to_le_bytes()[0]]);
                scenario.endpoints.push((pod, Endpoint { ifindex, mac, netns: 0 }));
            }
        }
        // The ninth that slots name is not there.
        for id in 1..9 {
            let address = if dice.chance(90) {
                dice.pick(&[local_pods().as_slice(), &remote_pods()].concat())
            } else {
                anybody(dice)
            };
            let port = Port::new(dice.pick(&SERVICE_PORTS));
            let flags = if dice.chance(70) { u16::MAX } else { u16::from(dice.byte() & 7) };
            scenario.backends.push((id, Backend { address, port, flags }));
        }
        scenario.add_services(dice);
        for _ in 0..dice.below(6) {
            scenario.add_flow(dice, now);
        }
        for _ in 0..dice.below(4) {
            let client = dice.pick(&local_pods());
            let key = AffinityKey { client, service: 1 + u32::from(dice.byte() & 3) };
            let used = dice.pick(&[now, now.wrapping_sub(AFFINITY * 2)]);
            let backend = 1 + u32::from(dice.byte() & 7);
            scenario.affinity.push((key, Affinity { backend, used }));
        }
        for _ in 0..dice.below(3) {
            let key: FlowKey<A> = any_key(dice);
            let fragment = FragmentKey {
                source: key.source,
                destination: key.destination,
                id: dice.pick(&IDS),
                protocol: key.protocol,
                hook: dice.pick(&[Hook::FromPod, Hook::ToPod]) as u8,
                reserved: [0; 2],
            };
            let ports =
                Fragment { source_port: key.source_port, destination_port: key.destination_port };
            scenario.fragments.push((fragment, ports));
        }
        scenario
    }

    fn add_services(&mut self, dice: &mut Dice) {
        let [a, b, c, _] = frontends::<A>();
        let mut addresses = vec![a, b, c];
        if dice.chance(10) {
            addresses.push(anybody(dice));
        }
        for address in addresses {
            for port in SERVICE_PORTS {
                for protocol in PROTOCOLS {
                    if !dice.chance(50) {
                        continue;
                    }
                    let offset = u32::try_from(dice.below(3)).expect("small");
                    let service = Service {
                        id: 1 + u32::from(dice.byte() & 3),
                        offset,
                        count: dice.pick(&[0, 1, 1, 2, 3]),
                        affinity: dice.pick(&[0, 0, AFFINITY]),
                        flags: dice.pick(&[
                            0,
                            0,
                            Service::DROP_IF_EMPTY,
                            Service::MASQUERADE,
                            Service::LOCAL_SET,
                        ]),
                        algorithm: 0,
                    };
                    let key = ServiceKey::new(address, Port::new(port), protocol, Scope::Internal);
                    self.services.push((key, service));
                }
            }
            if dice.chance(85) {
                let guard = ServiceKey::unknown_port_guard(address, Scope::Internal);
                self.services.push((guard, Service::default()));
            }
        }
    }

    /// A flow with both entries, or with one that leads somewhere or nowhere.
    fn add_flow(&mut self, dice: &mut Dice, now: u32) {
        let mut key: FlowKey<A> = any_key(dice);
        let (id, backend) = dice.pick(&self.backends);
        let is_direct = dice.chance(10);
        if !is_direct && dice.chance(90) {
            key.destination = dice.pick(&frontends());
        }
        let mut flags = 0;
        for (flag, percent) in [
            (Flow::<A>::CLIENT_CLOSED, 25),
            (Flow::<A>::BACKEND_CLOSED, 25),
            (Flow::<A>::MASQUERADED, 15),
            (Flow::<A>::FAST, 75),
            (Flow::<A>::ANSWERED, 60),
            (Flow::<A>::ESTABLISHED, 50),
        ] {
            flags |= if dice.chance(percent) { flag } else { 0 };
        }
        let remapped = dice.chance(20);
        let flow = Flow {
            address: if is_direct { key.destination } else { backend.address },
            port: if is_direct { key.destination_port } else { backend.port },
            nat_port: if remapped { Port::new(61_000) } else { key.source_port },
            backend: if is_direct { 0 } else { id },
            service: if is_direct { 0 } else { 1 + u32::from(dice.byte() & 3) },
            opening: if key.protocol == protocol::TCP {
                dice.pick(&SEQUENCES).to_be()
            } else {
                now.wrapping_sub(dice.pick(&[0, 500]))
            },
            last_seen: now.wrapping_sub(dice.pick(&[0, 0, 500])),
            ifindex: device_of(&self.endpoints, &key.source),
            last_seen_tick: 0,
            flags,
        };
        let halves = dice.below(10);
        if halves != 0 {
            self.flows.push((key, flow));
        }
        if halves != 1 {
            let closed = if dice.chance(20) { Flow::<A>::BACKEND_CLOSED } else { 0 };
            let mut peer = flow.peer_entry(&key);
            peer.flags |= closed;
            peer.ifindex = device_of(&self.endpoints, &flow.address);
            if dice.chance(20) {
                peer.last_seen = now;
            }
            self.flows.push((flow.reverse_key(&key), peer));
        }
    }
}

/// The device of a pod of this node, or 0.
fn device_of<A: Addresses>(endpoints: &[(A, Endpoint)], address: &A) -> u32 {
    let found = endpoints.iter().find(|(pod, _)| pod == address);
    found.map_or(0, |(_, endpoint)| endpoint.ifindex)
}

fn routes<A: Addresses>(dice: &mut Dice, devices: Devices) -> Vec<(u32, A, Route<A>)> {
    let prefix = if A::BITS == 128 { 64 } else { 24 };
    let mut routes = Vec::new();
    let remote = remote_pods::<A>().map(|pod| (prefix, pod, RouteKind::RemotePods));
    let others =
        [(prefix, A::pod(0), RouteKind::LocalPods), (A::BITS, A::bridge(), RouteKind::Node)];
    for (bits, address, kind) in remote.into_iter().chain(others) {
        if dice.chance(85) {
            let is_remote = kind == RouteKind::RemotePods;
            let ifindex = if is_remote && dice.chance(85) { devices.tunnel } else { 0 };
            let mtu = dice.pick(&[1450, 1450, 150]);
            let route = Route { kind: kind as u32, ifindex, mtu, next_hop: A::bridge() };
            routes.push((bits, address, route));
        }
    }
    routes
}
