//! Only nodes speak through the tunnel: whoever else sends to its port reaches no pod.

mod forgery;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{
    Builder, Cluster, Families, Member, Mode, NodeManifest, ServiceManifest, Stack, TUNNEL_PORT,
    until,
};

use self::forgery::{DEADLINE, GENUINE, TRIES, Victim, addresses_of, attack, port_at, send};
use crate::fixture::{all_talk, fake_node, pod_everywhere};

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

/// Adds chains of another program to a node, which give what it forwards the node's address, before Weir's
/// own chains do. With `to`, they first translate a port to the tunnel of that node, and what the node gets
/// itself has the address of `peer` then.
fn translate(node: &Member, to: Option<(&Member, IpAddr)>) -> Result<()> {
    let family = if node.address()?.is_ipv4() { "ip" } else { "ip6" };
    let mut lines = vec![
        "add table inet other".to_owned(),
        chain("postrouting", 0),
        "add rule inet other postrouting masquerade".to_owned(),
    ];
    if let Some((to, peer)) = to {
        let target = SocketAddr::new(to.address()?, TUNNEL_PORT);
        lines.extend([
            chain("prerouting", -100),
            format!("add rule inet other prerouting udp dport 9999 dnat {family} to {target}"),
            chain("input", 0),
            format!("add rule inet other input udp dport {TUNNEL_PORT} snat {family} to {peer}"),
        ]);
    }
    lines.iter().try_for_each(|line| node.sh(&format!("nft {line}")).map(drop))
}

fn chain(hook: &str, priority: i32) -> String {
    format!("add chain inet other {hook} {{ type nat hook {hook} priority {priority}; }}")
}

/// How many packets of others to a tunnel the node has dropped.
fn counted(node: &Member) -> Result<u64> {
    let counter = node.sh("nft list counter inet weir tunnel_from_others")?;
    let mut words = counter.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).context("no counter")?.parse().context("a number")
}

fn are_counted(node: &Member) -> Result<()> {
    ensure!(counted(node)? > 0, "the packets were not counted");
    Ok(())
}

#[test]
fn a_port_that_another_program_translates_to_a_tunnels_leads_nowhere() -> Result<()> {
    for underlay in [Families::V4, Families::V6] {
        for builder in variants(underlay) {
            builder.test(|cluster| {
                let [one, two] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
                let pods = pod_everywhere(cluster, "pod")?;
                let (machine, _) = cluster.neighbour(200)?;
                let at = SocketAddr::new(one.address()?, 9999);
                // Of this node, and of the other one, where they would arrive with this node's address.
                for (node, pod, peer) in [(one, &pods[0], &pods[1]), (two, &pods[1], &pods[0])] {
                    let victim = Victim::new(node, pod)?;
                    translate(one, Some((node, two.address()?)))?;
                    let forged = victim.forged(&peer.addresses())?;
                    attack(&machine, None, &[at], &forged)?;
                    attack(&pods[0], None, &[at], &forged)?;
                    victim.hears_only(peer)?;
                    are_counted(one)?;
                    one.sh("nft delete table inet other")?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_node_forwards_nothing_to_the_tunnel_of_another() -> Result<()> {
    for builder in [Families::V4, Families::V6].into_iter().flat_map(variants) {
        builder.test(|cluster| {
            let [one, two] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
            let pods = pod_everywhere(cluster, "pod")?;
            let victim = Victim::new(two, &pods[1])?;
            let (machine, _) = cluster.neighbour(200)?;
            let (to, via) = (two.address()?, one.address()?);
            let forged = victim.forged(&pods[0].addresses())?;
            machine.sh(&format!("ip route add {to} via {via}"))?;
            // Weir itself masquerades what pods send.
            let pod = pods[0].addresses().into_iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
            let pod = pod.context("no address of the family")?;
            let length = if pod.is_ipv4() { 32 } else { 128 };
            machine.sh(&format!("ip addr add {pod}/{length} dev lo nodad"))?;
            attack(&machine, Some(pod), &[port_at(to)], &forged)?;
            victim.hears_only(&pods[0]).context("as a pod")?;
            translate(one, None)?;
            attack(&machine, None, &[port_at(to)], &forged)?;
            victim.hears_only(&pods[0]).context("as itself")?;
            are_counted(one)
        })?;
    }
    Ok(())
}

#[test]
fn a_service_leads_no_machine_outside_to_the_tunnel_of_a_node() -> Result<()> {
    for (underlay, vip) in [(Families::V4, "10.96.0.77"), (Families::V6, "fd96::77")] {
        over(underlay).services().test(|cluster| {
            let [one, two] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
            let pods = pod_everywhere(cluster, "pod")?;
            let (machine, _) = cluster.neighbour(200)?;
            let at = SocketAddr::new(vip.parse()?, 53);
            machine.sh(&format!("ip route add {} via {}", at.ip(), one.address()?))?;
            for (node, pod, peer) in [(one, &pods[0], &pods[1]), (two, &pods[1], &pods[0])] {
                let service = ServiceManifest::new("tunnel", &[at.ip()], at.port(), TUNNEL_PORT)
                    .endpoint(&[node.address()?], node.name());
                cluster.manifests()?.put_service(&service)?;
                let victim = Victim::new(node, pod)?;
                let forged = victim.forged(&peer.addresses())?;
                let before = counted(one)?;
                until("they are dropped as the tunnel's", || {
                    attack(&machine, None, &[at], &forged)?;
                    ensure!(counted(one)? > before, "{}", counted(one)?);
                    Ok(())
                })?;
                victim.hears_only(peer)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn flows_that_are_older_than_the_table_end_with_it() -> Result<()> {
    for builder in [Families::V4, Families::V6].into_iter().flat_map(variants) {
        builder.test(|cluster| {
            let [one, two] = cluster.nodes() else { anyhow::bail!("expected two nodes") };
            let pods = pod_everywhere(cluster, "pod")?;
            let (machine, _) = cluster.neighbour(200)?;
            // Conntrack goes on while the table is away.
            translate(one, None)?;
            let (near, far) = (Victim::new(one, &pods[0])?, Victim::new(two, &pods[1])?);
            machine.sh(&format!("ip route add {} via {}", two.address()?, one.address()?))?;
            one.kill_agent()?;
            one.sh("nft delete table inet weir")?;
            let any = if one.address()?.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = machine.run(|| Ok(UdpSocket::bind(any)?))?;
            let send = |victim: &Victim<'_>, peer: usize| -> Result<()> {
                for message in victim.forged(&pods[peer].addresses())? {
                    socket.send_to(&message, port_at(victim.node.address()?))?;
                }
                Ok(())
            };
            let attacked = [(&near, 1), (&far, 0)];
            for (victim, peer) in attacked {
                send(victim, peer)?;
                victim.hears_forged().context("without the table")?;
            }
            one.start_agent()?;
            until("the agent is ready", || one.ready())?;
            for (victim, peer) in attacked {
                send(victim, peer)?;
                victim.hears_only(&pods[peer])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_comes_out_of_the_tunnel_has_no_mark() -> Result<()> {
    for underlay in [Families::V4, Families::V6] {
        over(underlay).services().flag("--fast-path=false").test(|cluster| {
            let (node, pods) = (cluster.node(1)?, pod_everywhere(cluster, "pod")?);
            let chain = "prerouting { type filter hook prerouting priority 0; }";
            for line in [
                "add table inet other".to_owned(),
                format!("add chain inet other {chain}"),
                "add rule inet other prerouting iifname weir.1 counter".to_owned(),
                "add rule inet other prerouting iifname weir.1 meta mark != 0 counter".to_owned(),
            ] {
                node.sh(&format!("nft {line}"))?;
            }
            all_talk(&pods)?;
            let rules = node.sh("nft list chain inet other prerouting")?;
            let counts: Vec<bool> = rules
                .lines()
                .filter(|line| line.contains("counter"))
                .map(|line| line.contains("packets 0 "))
                .collect();
            ensure!(counts == [false, true], "{underlay:?}: {rules}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_pod_hears_a_peer_at_the_port_of_the_tunnel() -> Result<()> {
    let builders = [Families::V4, Families::V6].into_iter().flat_map(variants);
    // Without a tunnel between them, its packets have the node's address.
    let direct = variants(Families::Dual).map(|builder| builder.mode(Mode::DirectRouting));
    for builder in builders.chain(direct) {
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
