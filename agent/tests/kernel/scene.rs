//! A node with two pods, and a host with the addresses of everything beyond the uplink: another node
//! and its pod, a network that is exempt from masquerading, and a destination outside of the cluster.

use std::{
    future::Future,
    io::Write as _,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use weir_agent::masquerade::{Marks, Masquerade, TunnelEnd};
use weir_netlink::{
    MacAddr, Netlink, Netns, address, bridge,
    link::{self, LinkChange},
    route, sysctl, veth,
};

/// An address of either family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both(&'static str, &'static str);

impl Both {
    pub(crate) fn each(self) -> [IpAddr; 2] {
        [self.0.parse().unwrap(), self.1.parse().unwrap()]
    }
}

pub(crate) const POD: Both = Both("10.244.1.2", "fd00:10:244:1::2");
pub(crate) const OTHER_POD: Both = Both("10.244.1.3", "fd00:10:244:1::3");
pub(crate) const REMOTE_POD: Both = Both("10.244.2.2", "fd00:10:244:2::2");
pub(crate) const BRIDGE: Both = Both("10.244.1.1", "fd00:10:244:1::1");
pub(crate) const NODE: Both = Both("172.16.0.1", "fd00:77::1");
pub(crate) const OTHER_NODE: Both = Both("172.16.0.2", "fd00:77::2");
pub(crate) const EXEMPT: Both = Both("192.168.5.5", "fd00:99::5");
pub(crate) const OUTSIDE: Both = Both("203.0.113.1", "2001:db8::1");

const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Runs a test in a new network namespace, on a thread that ends with it.
pub(crate) fn in_new_netns<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    let outcome = thread::scope(|scope| {
        let run = || {
            // SAFETY: a network namespace of its own does not affect the memory of this process.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("these tests need root");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test());
        };
        scope.spawn(run).join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// The network. The calling thread's namespace is the node's.
pub(crate) struct Scene {
    pub(crate) pod: Netns,
    pub(crate) other_pod: Netns,
    pub(crate) outside: Netns,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let node = Netlink::open().unwrap();
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            sysctl::ensure(&format!("net/{key}"), "1").unwrap();
        }
        make_bridge(&node, "weir0", 1, BRIDGE).await;
        let uplink = make_bridge(&node, "uplink", 2, NODE).await;

        let pod = attach(&node, "weir0", "pod", 3, &[(POD, true)]).await;
        let other_pod = attach(&node, "weir0", "other", 4, &[(OTHER_POD, true)]).await;
        let far = [(OTHER_NODE, true), (REMOTE_POD, false), (EXEMPT, false), (OUTSIDE, false)];
        let outside = attach(&node, "uplink", "outside", 5, &far).await;
        for at in [REMOTE_POD, EXEMPT, OUTSIDE] {
            add_routes(&node, uplink, at, 0, OTHER_NODE).await;
        }
        for netns in [&pod, &other_pod] {
            add_routes(&Netlink::open_in(netns).unwrap(), 2, OUTSIDE, 16, BRIDGE).await;
            add_routes(&Netlink::open_in(netns).unwrap(), 2, EXEMPT, 16, BRIDGE).await;
            add_routes(&Netlink::open_in(netns).unwrap(), 2, REMOTE_POD, 8, BRIDGE).await;
            add_routes(&Netlink::open_in(netns).unwrap(), 2, OTHER_NODE, 8, BRIDGE).await;
        }
        add_routes(&Netlink::open_in(&outside).unwrap(), 2, POD, 8, NODE).await;
        Self { pod, other_pod, outside }
    }

    /// The source address that a flow from the pod has at the host outside, where `to` is.
    pub(crate) fn source_outside(&self, to: IpAddr, port: u16) -> IpAddr {
        talk(&self.pod, &self.outside, (to, port).into())
    }

    /// Routes the pod's traffic to the outside destination through the other pod.
    pub(crate) async fn route_outside_through_other_pod(&self) {
        let other = Netlink::open_in(&self.other_pod).unwrap();
        for ip in OUTSIDE.each() {
            address::ensure(&other, 2, ip.into()).await.unwrap();
        }
        let pod = Netlink::open_in(&self.pod).unwrap();
        add_routes(&pod, 2, OUTSIDE, 0, OTHER_POD).await;
    }
}

/// Sends a datagram from one namespace to an address of another, and a reply. Returns the source
/// address that arrives.
pub(crate) fn talk(from: &Netns, to: &Netns, destination: SocketAddr) -> IpAddr {
    let server = to.run(|| UdpSocket::bind(destination)).unwrap().unwrap();
    let unspecified = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = from.run(|| UdpSocket::bind(unspecified)).unwrap().unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    }
    client.connect(destination).unwrap();
    client.send(b"there").unwrap();
    let mut buffer = [0; 16];
    let (_, peer) = server.recv_from(&mut buffer).expect("the datagram arrives");
    server.send_to(b"back", peer).unwrap();
    client.recv(&mut buffer).expect("the reply arrives");
    peer.ip()
}

/// Runs an `nft` script, for example with rules of another program. Returns the output.
pub(crate) fn nft(script: &str) -> String {
    let mut child = Command::new("nft")
        .args(["-a", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start nft");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft: {script}");
    String::from_utf8(output.stdout).unwrap()
}

/// The input of this node's agent with the backend vxlan and the eBPF data path.
pub(crate) fn wanted() -> Masquerade {
    let networks = |texts: [&str; 2]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Masquerade {
        local_pod_cidrs: networks(["10.244.1.0/24", "fd00:10:244:1::/64"]),
        pod_networks: networks(["10.244.0.0/16", "fd00:10:244::/48"]),
        direct_nodes: Vec::new(),
        no_masquerade_cidrs: networks(["192.168.0.0/16", "fd00:99::/64"]),
        ip_masq: true,
        tunnel: Some(tunnel(NODE.each()[0], &[OTHER_NODE.each()[0]])),
        bridge: "weir0".to_owned(),
        marks: Some(Marks { masquerade: 0x0020_0000, reply: 0x0040_0000, reject: 0x0080_0000 }),
    }
}

/// This node's end of the tunnel.
pub(crate) fn tunnel(local: IpAddr, peers: &[IpAddr]) -> TunnelEnd {
    let peers = Arc::new(peers.iter().copied().collect());
    TunnelEnd { port: 8472, local, peers }
}

fn mac(number: u8) -> MacAddr {
    MacAddr::new([0x0a, 0x58, 0, 0, 0, number])
}

async fn make_bridge(node: &Netlink, name: &str, number: u8, at: Both) -> u32 {
    let spec = bridge::BridgeSpec { name: name.to_owned(), mac: mac(number), mtu: 1500 };
    let index = bridge::ensure(node, &spec).await.unwrap().index;
    add_addresses(node, index, at, true).await;
    index
}

/// A namespace behind a port of the bridge, with these addresses on its eth0 (index 2). `true` means
/// that the address's subnet is on the link.
async fn attach(
    node: &Netlink,
    bridge: &str,
    port: &str,
    number: u8,
    addresses: &[(Both, bool)],
) -> Netns {
    let create = || {
        // SAFETY: a network namespace of its own does not affect the memory of this process.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        Netns::current().unwrap()
    };
    let netns = thread::spawn(create).join().unwrap();
    let controller = link::find(node, bridge).await.unwrap().unwrap().index;
    let spec = veth::VethSpec {
        name: port,
        controller,
        mtu: 1500,
        peer_name: "eth0",
        peer_mac: mac(number),
        peer_netns: &netns,
    };
    veth::create(node, &spec).await.unwrap();
    let inside = Netlink::open_in(&netns).unwrap();
    let eth0 = link::find(&inside, "eth0").await.unwrap().unwrap().index;
    assert_eq!(eth0, 2);
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    link::change(&inside, eth0, &up).await.unwrap();
    let outside = link::find(node, port).await.unwrap().unwrap().index;
    link::change(node, outside, &up).await.unwrap();
    for (at, on_link) in addresses {
        add_addresses(&inside, eth0, *at, *on_link).await;
    }
    link::wait_until_running(node, port).await.unwrap();
    netns
}

async fn add_addresses(netlink: &Netlink, index: u32, at: Both, on_link: bool) {
    for (ip, bits) in at.each().into_iter().zip([24, 64]) {
        let bits = if on_link { bits } else { ipnetwork::IpNetwork::from(ip).prefix() };
        let network = ipnetwork::IpNetwork::new(ip, bits).unwrap();
        address::ensure(netlink, index, network).await.unwrap();
    }
}

/// Adds routes via `via` to the networks of `at` with `host_bits` host bits.
async fn add_routes(netlink: &Netlink, index: u32, at: Both, host_bits: u8, via: Both) {
    for (ip, gateway) in at.each().into_iter().zip(via.each()) {
        let around = ipnetwork::IpNetwork::from(ip);
        let around = ipnetwork::IpNetwork::new(ip, around.prefix() - host_bits).unwrap();
        let network = ipnetwork::IpNetwork::new(around.network(), around.prefix()).unwrap();
        route::ensure(netlink, &route::Route::new(network, Some(gateway), index)).await.unwrap();
    }
}
