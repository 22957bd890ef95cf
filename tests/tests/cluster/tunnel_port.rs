//! Only nodes speak through the tunnel: whoever else sends to its port reaches no pod.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{
    AttachedPod, Builder, Cluster, Families, Member, Mode, NodeManifest, Stack, TUNNEL_PORT,
    tunnel_payload, until,
};

use crate::fixture::{all_talk, fake_node, pod_everywhere};

/// Where pods listen.
const PORT: u16 = 7777;
/// Far more than a datagram needs.
const DEADLINE: Duration = Duration::from_secs(5);
/// So many forged datagrams are sent to each address.
const TRIES: usize = 5;
const FORGED: &[u8] = b"forged";
const GENUINE: &[u8] = b"genuine";

/// A pod, and the sockets that receive what is sent to its addresses.
struct Victim<'a> {
    node: &'a Member,
    pod: &'a AttachedPod,
    sockets: Vec<UdpSocket>,
}

impl<'a> Victim<'a> {
    fn new(node: &'a Member, pod: &'a AttachedPod) -> Result<Self> {
        let listen = |address: IpAddr| {
            let socket = pod.run(|| UdpSocket::bind((address, PORT)).context("bind"))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            Ok(socket)
        };
        let sockets: Result<_> = pod.addresses().into_iter().map(listen).collect();
        Ok(Self { node, pod, sockets: sockets? })
    }

    /// What an attacker sends to a node's tunnel: a datagram to each address of the pod, whose source
    /// is the pod `as_pod`.
    fn forged(&self, as_pod: &[IpAddr]) -> Result<Vec<Vec<u8>>> {
        let mac = self.node.tunnel_mac()?;
        let to_each = self.pod.addresses().into_iter().map(|to| {
            let from = as_pod.iter().find(|from| from.is_ipv4() == to.is_ipv4());
            let from = SocketAddr::new(*from.context("no address of the family")?, 4444);
            tunnel_payload(&mac, from, SocketAddr::new(to, PORT), FORGED)
        });
        to_each.collect()
    }

    /// The next message at the pod's address of this number.
    fn receive(&self, number: usize) -> Result<Vec<u8>> {
        let socket = self.sockets.get(number).context("no such address")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).context("nothing arrives")?;
        Ok(buffer[..length].to_vec())
    }

    /// A pod of another node sends a datagram to each address of the pod. It arrives, and it is the
    /// first that does.
    fn hears_only(&self, peer: &impl Stack) -> Result<()> {
        for (number, to) in self.pod.addresses().into_iter().enumerate() {
            send(peer, None, SocketAddr::new(to, PORT), GENUINE)?;
            let message = self.receive(number)?;
            let text = String::from_utf8_lossy(&message);
            ensure!(message == GENUINE, "{to} has received {text:?} from an attacker");
        }
        Ok(())
    }

    /// Forged datagrams have arrived at all addresses of the pod.
    fn hears_forged(&self) -> Result<()> {
        for number in 0..self.sockets.len() {
            ensure!(self.receive(number)? == FORGED);
        }
        Ok(())
    }
}

/// Sends a datagram, from this address of `from` if there is one. What the kernel refuses to send does
/// not arrive either.
fn send(from: &impl Stack, source: Option<IpAddr>, to: SocketAddr, message: &[u8]) -> Result<()> {
    from.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let source = source.map_or_else(|| any.parse(), Ok)?;
        let socket = UdpSocket::bind((source, 0)).with_context(|| format!("bind {source}"))?;
        if to.is_ipv4() {
            socket.set_broadcast(true)?;
        }
        let _refused = socket.send_to(message, to);
        Ok(())
    })
}

/// Sends forged datagrams to a tunnel's port at these addresses.
fn attack(
    from: &impl Stack,
    source: Option<IpAddr>,
    at: &[SocketAddr],
    forged: &[Vec<u8>],
) -> Result<()> {
    for to in at {
        for message in forged {
            for _ in 0..TRIES {
                send(from, source, *to, message)?;
            }
        }
    }
    Ok(())
}

fn port_at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, TUNNEL_PORT)
}

/// All addresses at which a socket of the node takes packets from the underlay: its own, the gateway of
/// its pods, and those of all machines on the link.
fn addresses_of(node: &Member, attacker: &impl Stack) -> Result<Vec<SocketAddr>> {
    let own = node.address()?;
    let mut addresses = vec![port_at(own)];
    let family = if own.is_ipv4() { "-4" } else { "-6" };
    for subnet in node.manifest().subnets() {
        // A pod has a route already.
        let _has_route = attacker.sh(&format!("ip {family} route replace {subnet} via {own}"));
        let gateway = subnet.split('/').next().context("no subnet")?;
        let gateway = match gateway.parse()? {
            IpAddr::V4(ip) => IpAddr::from((ip.to_bits() + 1).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from((ip.to_bits() + 1).to_be_bytes()),
        };
        if gateway.is_ipv4() == own.is_ipv4() {
            addresses.push(port_at(gateway));
        }
    }
    if own.is_ipv4() {
        let shared = ["172.31.70.255", "224.0.0.1"].map(str::parse::<IpAddr>);
        addresses.extend(shared.into_iter().flatten().map(port_at));
    } else {
        // A machine has an uplink, a pod has an eth0.
        let links = attacker.sh("ip -o link show")?;
        let mut lines = links.lines();
        let line = lines.find(|line| line.contains(": uplink") || line.contains(": eth0"));
        let index = line.and_then(|line| line.split(':').next()).context("no link")?.parse()?;
        addresses.push(SocketAddrV6::new("ff02::1".parse()?, TUNNEL_PORT, 0, index).into());
    }
    Ok(addresses)
}

fn over(underlay: Families) -> Builder {
    Cluster::new(2).pods(Families::Dual).underlay(underlay)
}

const UNDERLAYS: [Families; 3] = [Families::V4, Families::V6, Families::Dual];

/// Without and with Services, where programs admit most packets.
fn variants(underlay: Families) -> [Builder; 2] {
    [over(underlay), over(underlay).services()]
}

#[test]
fn a_machine_that_is_not_a_node_reaches_no_pod_through_the_tunnels_port() -> Result<()> {
    for builder in UNDERLAYS.into_iter().flat_map(variants) {
        builder.test(|cluster| {
            let pods = pod_everywhere(cluster, "pod")?;
            let victim = Victim::new(cluster.node(1)?, &pods[0])?;
            let (machine, _) = cluster.neighbour(200)?;
            for at in addresses_of(victim.node, &machine)? {
                attack(&machine, None, &[at], &victim.forged(&pods[1].addresses())?)?;
                victim.hears_only(&pods[1]).with_context(|| at.to_string())?;
            }
            all_talk(&pods)
        })?;
    }
    Ok(())
}

#[test]
fn a_machine_behind_a_router_reaches_no_pod_through_the_tunnels_port() -> Result<()> {
    for underlay in UNDERLAYS {
        over(underlay).behind_router(2).test(|cluster| {
            let pods = pod_everywhere(cluster, "pod")?;
            let victim = Victim::new(cluster.node(1)?, &pods[0])?;
            let (machine, _) = cluster.outside()?;
            let at = [port_at(victim.node.address()?)];
            attack(&machine, None, &at, &victim.forged(&pods[1].addresses())?)?;
            victim.hears_only(&pods[1])?;
            all_talk(&pods)
        })?;
    }
    Ok(())
}

#[test]
fn a_pod_reaches_no_pod_through_the_tunnels_port_of_a_node() -> Result<()> {
    for (underlay, services) in
        [(Families::V4, false), (Families::V4, true), (Families::V6, false), (Families::V6, true)]
    {
        let builder = over(underlay);
        let builder = if services { builder.services() } else { builder };
        builder.test(|cluster| {
            let [one, two] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
            let attacker = one.pod("attacker")?;
            let (near, far) = (one.pod("near")?, two.pod("far")?);
            for (victim, peer) in
                [(Victim::new(one, &near)?, &far), (Victim::new(two, &far)?, &near)]
            {
                let forged = victim.forged(&peer.addresses())?;
                attack(&attacker, None, &addresses_of(victim.node, &attacker)?, &forged)?;
                victim.hears_only(peer).with_context(|| format!("as itself, {underlay:?}"))?;
            }
            // With the address of a node that may send.
            let victim = Victim::new(one, &near)?;
            let source = two.address()?;
            let length = if source.is_ipv4() { 32 } else { 128 };
            attacker.sh(&format!("ip addr add {source}/{length} dev eth0 nodad"))?;
            let forged = victim.forged(&far.addresses())?;
            let at = addresses_of(one, &attacker)?;
            attack(&attacker, Some(source), &at, &forged)?;
            victim.hears_only(&far).with_context(|| format!("as a node, {underlay:?}"))
        })?;
    }
    Ok(())
}

/// A Node object for a machine that is only addresses.
fn joining(addresses: &[IpAddr]) -> NodeManifest {
    fake_node(50).pod_cidrs(&["10.244.50.0/24", "fd44:0:0:50::/64"]).internal_ips(addresses)
}

fn pods_of_joining() -> Result<[IpAddr; 2]> {
    Ok(["10.244.50.7".parse()?, "fd44:0:0:50::7".parse()?])
}

#[test]
fn a_node_that_joins_is_admitted_and_one_that_leaves_is_not() -> Result<()> {
    for builder in UNDERLAYS.into_iter().flat_map(variants) {
        builder.without_timer().test(|cluster| {
            let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
            let other = cluster.node(2)?.manifest();
            let pods = pod_everywhere(cluster, "pod")?;
            let victim = Victim::new(node, &pods[0])?;
            let (machine, addresses) = cluster.neighbour(200)?;
            let forged = victim.forged(&pods_of_joining()?)?;
            let at = [port_at(node.address()?)];
            for _ in 0..3 {
                attack(&machine, None, &at, &forged)?;
                victim.hears_only(&pods[1]).context("before it has joined")?;
                manifests.put(&joining(&addresses))?;
                node.wait_for_peers([other, &joining(&addresses)])?;
                for message in &forged {
                    // Not tried again: a node that has entries is admitted.
                    send(&machine, None, at[0], message)?;
                }
                victim.hears_forged().context("after it has joined")?;
                manifests.remove(&joining(&addresses))?;
                node.wait_for_peers([other])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_node_whose_address_changes_is_admitted_at_its_new_one_only() -> Result<()> {
    for builder in [Families::V4, Families::V6].into_iter().flat_map(variants) {
        builder.without_timer().test(|cluster| {
            let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
            let other = cluster.node(2)?.manifest();
            let pods = pod_everywhere(cluster, "pod")?;
            let victim = Victim::new(node, &pods[0])?;
            let (first, old) = cluster.neighbour(200)?;
            let (second, new) = cluster.neighbour(201)?;
            let forged = victim.forged(&pods_of_joining()?)?;
            let at = port_at(node.address()?);
            for (manifest, inside, outside) in [
                (joining(&old), &first, &second),
                (joining(&new), &second, &first),
                (joining(&old), &first, &second),
            ] {
                manifests.put(&manifest)?;
                node.wait_for_peers([other, &manifest])?;
                attack(outside, None, &[at], &forged)?;
                victim.hears_only(&pods[1]).context("from the other address")?;
                for message in &forged {
                    send(inside, None, at, message)?;
                }
                victim.hears_forged().context("from its address")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn agents_that_are_killed_at_any_time_of_their_start_let_nobody_in() -> Result<()> {
    for underlay in [Families::V4, Families::V6] {
        over(underlay).test(|cluster| {
            let pods = pod_everywhere(cluster, "pod")?;
            let node = cluster.node(1)?;
            let victim = Victim::new(node, &pods[0])?;
            let (machine, _) = cluster.neighbour(200)?;
            let (at, forged) = ([port_at(node.address()?)], victim.forged(&pods[1].addresses())?);
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let attacker = scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        attack(&machine, None, &at, &forged)?;
                    }
                    Ok::<_, anyhow::Error>(())
                });
                let disturbed = kill_and_restart(cluster, node);
                is_over.store(true, Ordering::Relaxed);
                attacker.join().map_err(|_| anyhow::anyhow!("the attacker panicked"))??;
                disturbed
            })?;
            victim.hears_only(&pods[1])
        })?;
    }
    Ok(())
}

/// Kills the agent at several times of its start, also when it has to make the tunnel or the table.
fn kill_and_restart(cluster: &Cluster, node: &Member) -> Result<()> {
    node.kill_agent()?;
    for (number, milliseconds) in [1, 5, 10, 20, 40, 80, 160, 320].into_iter().enumerate() {
        // In this order: a tunnel without the table would let the attacker in, and no agent is running.
        if number % 2 == 1 {
            for line in ["ip link del weir.1", "nft delete table inet weir"] {
                // The last agent may have been killed before it made it.
                let _missing = node.sh(line);
            }
        }
        node.start_agent()?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        node.kill_agent()?;
    }
    node.start_agent()?;
    until("the last agent is ready", || node.ready())?;
    cluster.wait_until_ready()
}

#[test]
fn without_a_tunnel_the_port_is_open_to_everybody() -> Result<()> {
    Cluster::new(2).mode(Mode::HostGw).pods(Families::Dual).test(|cluster| {
        let node = cluster.node(1)?;
        let (machine, _) = cluster.neighbour(200)?;
        let pod = node.pod("pod")?;
        for address in node.manifest().addresses() {
            let socket = node.run(|| Ok(UdpSocket::bind(port_at(*address))?))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            for _ in 0..2 {
                send(&machine, None, port_at(*address), GENUINE)?;
                socket.recv(&mut [0; 16]).context("from a machine")?;
                send(&pod, None, port_at(*address), GENUINE)?;
                socket.recv(&mut [0; 16]).context("from a pod")?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_port_that_another_program_translates_to_the_tunnels_leads_nowhere() -> Result<()> {
    for (underlay, family) in [(Families::V4, "ip"), (Families::V6, "ip6")] {
        for builder in variants(underlay) {
            builder.test(|cluster| {
                let pods = pod_everywhere(cluster, "pod")?;
                let victim = Victim::new(cluster.node(1)?, &pods[0])?;
                let (machine, _) = cluster.neighbour(200)?;
                let chain = "prerouting { type nat hook prerouting priority dstnat; }";
                for line in [
                    format!("add table {family} other"),
                    format!("add chain {family} other {chain}"),
                    format!(
                        "add rule {family} other prerouting udp dport 9999 redirect to {TUNNEL_PORT}"
                    ),
                ] {
                    victim.node.sh(&format!("nft {line}"))?;
                }
                let at = SocketAddr::new(victim.node.address()?, 9999);
                attack(&machine, None, &[at], &victim.forged(&pods[1].addresses())?)?;
                victim.hears_only(&pods[1])?;
                until("they are counted", || {
                    let counters = victim.node.sh("nft list counters table inet weir")?;
                    ensure!(!counters.contains("tunnel_from_others {\n\t\tpackets 0"), "{counters}");
                    Ok(())
                })
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_socket_of_a_node_hears_a_peer_at_the_same_port_of_a_pod() -> Result<()> {
    for builder in [Families::V4, Families::V6].into_iter().flat_map(variants) {
        builder.test(|cluster| {
            let [one, two] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
            let server = one.pod("server")?;
            for to in server.addresses() {
                let to = SocketAddr::new(to, TUNNEL_PORT);
                let socket = server.run(|| Ok(UdpSocket::bind(to)?))?;
                socket.set_read_timeout(Some(DEADLINE))?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let client = two.run(|| Ok(UdpSocket::bind(any)?))?;
                client.set_read_timeout(Some(DEADLINE))?;
                client.send_to(GENUINE, to)?;
                let (_, from) = socket.recv_from(&mut [0; 64]).context("the request")?;
                socket.send_to(GENUINE, from)?;
                let (_, source) = client.recv_from(&mut [0; 64]).context("the reply")?;
                ensure!(source == to, "the reply has the source {source}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The set of the peers' addresses.
fn peers_set(node: &Member) -> Result<String> {
    node.sh("nft list set inet weir peers_ipv4")
}

#[test]
fn an_edited_set_of_peers_is_repaired_at_once() -> Result<()> {
    Cluster::new(2).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let before = peers_set(node)?;
        ensure!(before.contains(&cluster.node(2)?.address()?.to_string()), "{before}");
        for edit in [
            "flush set inet weir peers_ipv4",
            "add element inet weir peers_ipv4 { 172.31.70.99 }",
            "flush chain inet weir to_tunnel",
            "flush chain inet weir input",
        ] {
            let table = || node.sh("nft --stateless list table inet weir");
            let whole = table()?;
            node.while_agent_paused(|| node.sh(&format!("nft {edit}")))?;
            until(&format!("as before {edit}"), || {
                let after = table()?;
                ensure!(after == whole, "{after}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_node_whose_table_cannot_be_written_says_so_and_follows_its_peers() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let nft = node.sh("which nft")?.trim().to_owned();
        node.sh(&format!("mount --bind /bin/false {nft}"))?;
        let peer = fake_node(50);
        manifests.put(&peer)?;
        node.wait_for_peers([cluster.node(2)?.manifest(), &peer])?;
        until("the condition and the concern are reported", || {
            let ready = node.get("/readyz")?;
            ensure!(
                ready.status == 503 && ready.body.contains("waiting table-written: "),
                "not yet"
            );
            ensure!(node.get("/concerns")?.body.contains("NftablesTableOutdated"), "not yet");
            Ok(())
        })?;
        let (_, status) = node.weir_json(&["status"])?;
        let kinds: Vec<_> = status["problems"]
            .as_array()
            .context("no problems")?
            .iter()
            .map(|problem| problem["kind"].as_str().unwrap_or_default())
            .collect();
        ensure!(kinds.contains(&"agent_not_ready") && kinds.contains(&"concern"), "{kinds:?}");
        node.sh(&format!("umount {nft}"))?;
        until("the node is ready again", || node.ready())?;
        let set = peers_set(node)?;
        ensure!(set.contains("172.31.70.50"), "{set}");
        until("the concern is over", || {
            ensure!(node.get("/concerns")?.body == "[]", "not yet");
            Ok(())
        })
    })
}

#[test]
fn packets_that_no_peer_has_sent_are_counted() -> Result<()> {
    Cluster::new(2).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let pods = pod_everywhere(cluster, "pod")?;
        let victim = Victim::new(node, &pods[0])?;
        let (machine, _) = cluster.neighbour(200)?;
        let (at, forged) = ([port_at(node.address()?)], victim.forged(&pods[1].addresses())?);
        attack(&machine, None, &at, &forged)?;
        attack(&pods[0], None, &at, &forged)?;
        until("both are counted", || {
            let (_, status) = node.weir_json(&["status"])?;
            let refused = &status["refused"];
            let count = |from: &str| refused[from].as_u64().unwrap_or_default();
            let counts = [count("from_pods"), count("from_others")];
            ensure!(counts == [TRIES as u64; 2], "{refused}");
            Ok(())
        })
    })
}
