//! Pods of the namespaces that the operator has chosen send with addresses of others, as VPN gateways do.
//! Those of all other namespaces do not.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use weir_tests::lab::{
    AttachedPod, Cluster, Families, Member, Mode, Observe, Stack, TUNNEL_PORT, refused,
    tunnel_payload, until,
};

/// Where pods listen.
const PORT: u16 = 7777;
/// Far more than a datagram needs.
const DEADLINE: Duration = Duration::from_secs(5);
/// Addresses of machines behind a VPN gateway.
const FOREIGN: [&str; 2] = ["192.0.2.7", "2001:db8::7"];
/// So many calls are killed at different times.
const TRIES: u32 = 40;
const ROUTING: &str = "--routing-namespaces=vpn,edge";

/// A pod that listens at all of its addresses.
struct Listener {
    pod: AttachedPod,
    sockets: Vec<(SocketAddr, UdpSocket)>,
}

impl Listener {
    fn on(node: &Member, name: &str) -> Result<Self> {
        let pod = node.pod(name)?;
        let listen = |ip: IpAddr| {
            let address = SocketAddr::new(ip, PORT);
            let socket = pod.run(|| UdpSocket::bind(address).context("bind"))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            Ok((address, socket))
        };
        let sockets: Result<_> = pod.addresses().into_iter().map(listen).collect();
        Ok(Self { sockets: sockets?, pod })
    }

    /// A datagram of `pod` from a foreign address of each family arrives, or does not: then the first
    /// that arrives is the one that the pod sends as itself.
    fn hears(&self, pod: &impl Stack, foreign: bool) -> Result<()> {
        for (to, socket) in &self.sockets {
            let source = FOREIGN[usize::from(to.is_ipv6())].parse()?;
            let from = |ip: Option<IpAddr>| {
                let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
                let ip = ip.map_or_else(|| any.parse(), Ok)?;
                pod.run(|| {
                    let socket = UdpSocket::bind((ip, 0)).with_context(|| format!("bind {ip}"))?;
                    socket.send_to(b"hello", to).with_context(|| format!("send from {ip}"))?;
                    Ok(())
                })
            };
            from(Some(source))?;
            from(None)?;
            let mut peers = Vec::new();
            for _ in 0..=usize::from(foreign) {
                let received = socket.recv_from(&mut [0; 16]);
                peers.push(received.with_context(|| format!("{to} hears {peers:?} only"))?.1.ip());
            }
            ensure!(peers.contains(&source) == foreign, "{to} hears {peers:?}");
        }
        Ok(())
    }
}

/// Gives a pod the addresses of machines behind it.
fn add_foreign(pod: &impl Stack) -> Result<()> {
    for ip in FOREIGN {
        let (length, option) = if ip.contains(':') { (128, "nodad") } else { (32, "") };
        pod.sh(&format!("ip addr add {ip}/{length} dev lo {option}"))?;
    }
    Ok(())
}

/// The pods that route by the map of the node; an entry without a record by its device's number.
fn routing(node: &Member) -> Result<Vec<String>> {
    let (_, status) = node.weir_json(&["status"])?;
    let list = status["routing"].as_array().context("no list")?.iter();
    Ok(list.filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

fn wait_for_routing(node: &Member, expected: &[&str]) -> Result<()> {
    until(&format!("the pods that route are {expected:?}"), || {
        let found = routing(node)?;
        ensure!(found == expected, "{found:?}");
        Ok(())
    })
}

fn check(node: &Member, pod: &AttachedPod) -> Result<()> {
    node.cni()?.check(pod.sandbox(), pod.added())
}

fn a_gateway_reaches_pods(mode: Mode, fast: bool) -> Result<()> {
    let builder = Cluster::new(2).mode(mode).pods(Families::Dual).services();
    builder.flag(&format!("--fast-path={fast}")).flag(ROUTING).test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        // A strict check of sources on the node; the machines are not behind the pods' bridge.
        near.sh("sysctl -w net.ipv4.conf.all.rp_filter=1")?;
        near.sh("ip route add 192.0.2.0/24 dev uplink")?;
        far.sh("ip route add 192.0.2.0/24 dev uplink")?;
        let listeners = [Listener::on(near, "near")?, Listener::on(far, "far")?];
        let gateway = near.pod_in("vpn", "gateway")?;
        // Its name is that of a namespace that routes.
        let other = near.pod_in("default", "vpn")?;
        ensure!(routing(near)? == ["vpn/gateway"], "{:?}", routing(near)?);
        for pod in [&gateway, &other] {
            add_foreign(pod)?;
            check(near, pod)?;
        }
        for listener in &listeners {
            listener.hears(&gateway, true).context("of the gateway")?;
            listener.hears(&other, false).context("of a pod of another namespace")?;
        }
        let (_, status) = near.weir_json(&["status"])?;
        ensure!(status["healthy"] == true, "{:#}", status["problems"]);
        let dropped = status["counters"]["dropped_source"].as_u64().unwrap_or_default();
        ensure!(dropped >= 4, "{dropped} packets were dropped");
        let shown = near.weir_text(&["status"])?;
        ensure!(shown.contains("3, of which route for others: vpn/gateway"), "{shown}");
        let (_, listed) = near.weir_json(&["endpoints"])?;
        let routes: Vec<_> =
            listed.as_array().context("no list")?.iter().map(|pod| &pod["routes"]).collect();
        ensure!(routes == [&json!(false), &json!(false), &json!(true)], "{listed:#}");

        gateway.detach()?;
        ensure!(routing(near)?.is_empty(), "{:?}", routing(near)?);
        Ok(())
    })
}

#[test]
fn a_pod_of_a_routing_namespace_sends_with_addresses_of_others_through_a_tunnel() -> Result<()> {
    a_gateway_reaches_pods(Mode::Vxlan, true)
}

#[test]
fn a_pod_of_a_routing_namespace_sends_with_addresses_of_others_by_routes() -> Result<()> {
    a_gateway_reaches_pods(Mode::HostGw, true)
}

#[test]
fn a_pod_of_a_routing_namespace_sends_with_addresses_of_others_through_the_stack() -> Result<()> {
    a_gateway_reaches_pods(Mode::Vxlan, false)
}

#[test]
fn a_pod_that_routes_reaches_no_pod_through_the_tunnels_port_of_a_node() -> Result<()> {
    Cluster::new(2).services().flag(ROUTING).test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let (listener, friend) = (Listener::on(far, "far")?, near.pod("friend")?);
        let gateway = near.pod_in("vpn", "gateway")?;
        let (to, socket) = listener.sockets.first().context("no address")?;
        let friend_at = SocketAddr::new(friend.address()?, 4444);
        let forged = tunnel_payload(&far.tunnel_mac()?, friend_at, *to, b"forged")?;
        // As itself, as another machine, and as the node, which is a peer of the other one.
        let own = gateway.address()?;
        gateway.sh(&format!("ip addr add {}/32 dev lo", near.address()?))?;
        gateway.sh("ip addr add 192.0.2.7/32 dev lo")?;
        for source in [own, FOREIGN[0].parse()?, near.address()?] {
            gateway.run(|| {
                let socket = UdpSocket::bind((source, 0)).context("bind")?;
                socket.send_to(&forged, (far.address()?, TUNNEL_PORT)).context("send")?;
                Ok(())
            })?;
        }
        friend.run(|| {
            let socket = UdpSocket::bind((friend_at.ip(), 0)).context("bind")?;
            socket.send_to(b"genuine", to).context("send")?;
            Ok(())
        })?;
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).context("nothing arrives")?;
        ensure!(buffer[..length] == *b"genuine", "a forged datagram has arrived");
        let (_, status) = near.weir_json(&["status"])?;
        ensure!(status["counters"]["dropped_tunnel"] == 3, "{:#}", status["counters"]);
        drop(listener.pod);
        Ok(())
    })
}

#[test]
fn an_agent_with_another_list_changes_running_pods() -> Result<()> {
    Cluster::new(1).services().stopped().test(|cluster| {
        let node = cluster.node(1)?;
        let restart = |flags: &[&str]| {
            node.end_agent(Signal::TERM)?;
            node.start_agent_with(flags)?;
            until("ready", || node.ready())
        };
        node.start_agent()?;
        until("ready", || node.ready())?;
        let listener = Listener::on(node, "listener")?;
        let (gateway, edge) = (node.pod_in("vpn", "gateway")?, node.pod_in("edge", "router")?);
        let pods = [&gateway, &edge];
        pods.iter().try_for_each(|pod| add_foreign(*pod))?;
        let route = |expected: &[&str]| {
            wait_for_routing(node, expected)?;
            for (pod, name) in pods.iter().zip(["vpn/gateway", "edge/router"]) {
                listener.hears(*pod, expected.contains(&name)).context(name)?;
                check(node, pod).context(name)?;
            }
            Ok::<_, anyhow::Error>(())
        };
        route(&[])?;
        restart(&[ROUTING])?;
        route(&["vpn/gateway", "edge/router"])?;
        restart(&["--routing-namespaces=edge"])?;
        route(&["edge/router"])?;

        // CHECK compares with the list of its configuration.
        let cni =
            node.cni()?.reconfigured(|config| config.with("routingNamespaces", json!(["vpn"])));
        for (pod, words) in [(&gateway, "may not send"), (&edge, "may send")] {
            let error = refused(cni.check(pod.sandbox(), pod.added()), 105)?.to_string();
            ensure!(error.contains(words), "{error}");
        }
        restart(&[])?;
        route(&[])
    })
}

/// The number that the next link of the node gets.
fn next_index(node: &Member) -> Result<u32> {
    node.sh("ip link add last type bridge")?;
    let index = node.link("last")?.ifindex + 1;
    node.sh("ip link del last")?;
    Ok(index)
}

#[test]
fn the_number_of_a_deleted_interface_makes_no_other_pod_route() -> Result<()> {
    let builder = Cluster::new(1).services().flag(ROUTING).flag("--resync-seconds=1");
    builder.test(|cluster| {
        let node = cluster.node(1)?;
        let listener = Listener::on(node, "listener")?;
        let gateway = node.pod_in("vpn", "gateway")?;
        let records = node.run_dir().join("endpoints");
        let of_gateway = records.join(format!("{}.json", gateway.added().host()?.name));
        let dead = records.join("weirdeaddeadde.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&of_gateway)?)?;
        gateway.detach()?;

        // A pod whose DEL was killed: the map has its device, which another pod gets.
        let index = next_index(node)?;
        node.sh(&format!("ip link add weirdeaddeadde index {index} type bridge"))?;
        record["hostInterface"] = "weirdeaddeadde".into();
        record["hostIfindex"] = index.into();
        fs::write(&dead, record.to_string())?;
        wait_for_routing(node, &["vpn/gateway"])?;
        node.kill_agent()?;
        node.sh("ip link del weirdeaddeadde")?;
        fs::remove_file(&dead)?;
        ensure!(routing(node)? == [format!("#{index}")], "{:?}", routing(node)?);
        let pod = node.pod("pod")?;
        let host = node.link(&pod.added().host()?.name)?;
        ensure!(host.ifindex == index, "it got number {}, not {index}", host.ifindex);
        ensure!(routing(node)?.is_empty(), "{:?}", routing(node)?);
        add_foreign(&pod)?;
        listener.hears(&pod, false)?;

        // Without another pod, the agent removes it, and so does GC.
        for by_agent in [false, true] {
            let gateway = node.pod_in("vpn", &format!("gateway-{by_agent}"))?;
            let host = gateway.added().host()?.name.clone();
            node.sh(&format!("ip link del {host}"))?;
            fs::remove_file(records.join(format!("{host}.json")))?;
            ensure!(routing(node)?.len() == 1, "{:?}", routing(node)?);
            if by_agent {
                node.start_agent()?;
            } else {
                let other = pod.sandbox();
                node.cni()?.reconfigured(|config| config.version("1.1.0")).gc(&[other])?;
                ensure!(routing(node)?.is_empty(), "{:?}", routing(node)?);
            }
            wait_for_routing(node, &[])?;
        }
        Ok(())
    })
}

#[test]
fn a_killed_add_or_del_leaves_no_pod_that_routes_after_the_next_del() -> Result<()> {
    Cluster::new(1).services().flag(ROUTING).test(|cluster| {
        let node = cluster.node(1)?;
        let (cni, sandbox) = (node.cni()?, node.machine().pod("gateway")?);
        let names = "IgnoreUnknown=1;K8S_POD_NAMESPACE=vpn;K8S_POD_NAME=gateway";
        let add = || cni.call("ADD").pod(&sandbox).env("CNI_ARGS", names);
        let add_whole = || add().run()?.added();
        add_whole()?;
        cni.del(&sandbox)?;
        // It would repair what is left.
        node.kill_agent()?;
        for verb in ["ADD", "DEL"] {
            let start = Instant::now();
            add_whole()?;
            let mut duration = start.elapsed();
            let start = Instant::now();
            cni.del(&sandbox)?;
            if verb == "DEL" {
                duration = start.elapsed();
            }
            for number in 0..TRIES {
                let call = if verb == "ADD" {
                    add()
                } else {
                    add_whole()?;
                    cni.call("DEL").pod(&sandbox)
                };
                let at = duration * number / TRIES;
                let was_killed = call.tool()?.kill_after(at)?;
                duration = duration.mul_f64(if was_killed { 1.05 } else { 0.9 });
                cni.del(&sandbox)?;
                let found = routing(node)?;
                ensure!(found.is_empty(), "{verb} killed after {at:?}: {found:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_entry_that_somebody_changes_is_repaired() -> Result<()> {
    let builder = Cluster::new(1).services().flag(ROUTING).flag("--resync-seconds=1");
    builder.test(|cluster| {
        let node = cluster.node(1)?;
        let _gateway = node.pod_in("vpn", "gateway")?;
        // An older agent of another list, for example.
        let list = node.cni()?.reconfigured(|config| config.with("routingNamespaces", json!([])));
        let sandbox = node.machine().pod("late")?;
        let names = "IgnoreUnknown=1;K8S_POD_NAMESPACE=edge;K8S_POD_NAME=late";
        list.call("ADD").pod(&sandbox).env("CNI_ARGS", names).run()?.added()?;
        wait_for_routing(node, &["vpn/gateway", "edge/late"])?;
        until("the repair is counted", || {
            let metrics = node.get("/metrics")?.body;
            ensure!(metrics.contains("weir_operations_total{kind=\"router_set\"} 1"), "{metrics}");
            Ok(())
        })?;
        node.ready()
    })
}

#[test]
fn a_strict_check_of_sources_that_the_agent_cannot_change_is_reported() -> Result<()> {
    let builder = Cluster::new(1).services().flag(ROUTING).flag("--resync-seconds=1");
    builder.test(|cluster| {
        let node = cluster.node(1)?;
        let _gateway = node.pod_in("vpn", "gateway")?;
        let directory = "/proc/sys/net/ipv4/conf/weir0";
        node.sh(&format!("mount --bind {directory} {directory}"))?;
        node.sh(&format!("mount -o remount,bind,ro {directory}"))?;
        node.sh("sysctl -w net.ipv4.conf.all.rp_filter=1")?;
        until("it is reported", || {
            let readiness = node.get("/readyz")?.body;
            for words in ["\nwarning SourceCheckStrict: ", "net.ipv4.conf.weir0.rp_filter=2"] {
                ensure!(readiness.contains(words), "{readiness}");
            }
            ensure!(node.log().contains("\"SourceCheckStrict\""), "there is no Event");
            Ok(())
        })?;
        node.ready()?;
        node.sh(&format!("umount {directory}"))?;
        until("it is over", || {
            let found = node.get("/concerns")?.body;
            ensure!(found == "[]", "{found}");
            let value = node.sh("sysctl -n net.ipv4.conf.weir0.rp_filter")?;
            ensure!(value.trim() == "2", "rp_filter is {value}");
            Ok(())
        })
    })
}
