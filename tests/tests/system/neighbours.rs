//! A pod is no router to its neighbours: they follow neither its router advertisements nor its redirects.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket, sockopt};
use weir_tests::lab::{Cni, Config, Node, Observe, Pod, Stack, ping, refused, until};

use crate::fixture::{Fixture, one_pod};

const HARDENED: [&str; 4] =
    ["ipv6 accept_ra", "ipv6 accept_redirects", "ipv4 accept_redirects", "ipv4 send_redirects"];

fn sysctl(pod: &Pod, parameter: &str, interface: &str) -> Result<String> {
    let (family, name) = parameter.split_once(' ').context("family and name")?;
    let path = format!("/proc/sys/net/{family}/conf/{interface}/{name}");
    pod.run(|| Ok(fs::read_to_string(&path).with_context(|| path.clone())?.trim().to_owned()))
}

fn set_sysctl(pod: &Pod, key: &str, value: &str) -> Result<()> {
    pod.run(|| fs::write(format!("/proc/sys/{key}"), value).with_context(|| key.to_owned()))
}

#[test]
fn a_pods_interfaces_follow_no_router_advertisement_and_no_redirect() -> Result<()> {
    for config in [
        Config::new("10.1.0.0/24"),
        Config::new("fd00:1::/64"),
        Config::dual_stack("10.1.0.0/24", "fd00:1::/64"),
    ] {
        let Fixture { cni, pod, .. } = one_pod(config)?;
        let more = cni.reconfigured(|config| config.with("isDefaultGateway", false));
        more.call("ADD").pod(&pod).env("CNI_IFNAME", "net.1").run()?.added()?;
        for parameter in HARDENED {
            for interface in ["eth0", "net.1", "default"] {
                let found = sysctl(&pod, parameter, interface)?;
                ensure!(found == "0", "{parameter} of {interface} is {found}");
            }
        }
        // The kernel obeys `all` beside the interface's own only for IPv4.
        for parameter in ["ipv4 accept_redirects", "ipv4 send_redirects"] {
            ensure!(sysctl(&pod, parameter, "all")? == "0", "{parameter}");
        }
        ensure!(sysctl(&pod, "ipv6 accept_ra", "all")? == "1");
        // An interface that the pod itself makes later.
        pod.sh("ip link add later type bridge")?;
        for parameter in HARDENED {
            ensure!(sysctl(&pod, parameter, "later")? == "0", "{parameter} of a later interface");
        }
    }
    Ok(())
}

#[test]
fn the_node_follows_no_redirect_of_a_pod() -> Result<()> {
    let Fixture { node, pod: _pod, .. } =
        one_pod(Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    for name in [
        "net/ipv4/conf/weir0/accept_redirects",
        "net/ipv6/conf/weir0/accept_redirects",
        "net/ipv6/conf/weir0/accept_ra",
    ] {
        ensure!(node.sysctl(name)? == "0", "{name}");
    }
    Ok(())
}

#[test]
fn link_local_addresses_and_duplicate_address_detection_still_work() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    cni.add(&a)?;
    cni.add(&b)?;
    let link_local = settled_link_local(&b)?;
    until("a reaches b by its link-local address", || {
        let target = format!("{link_local}%eth0");
        let ping = a.command("ping")?.args(["-n", "-c", "1", "-w", "1", &target]).finish()?;
        ensure!(ping.status.success(), "{ping:?}");
        Ok(())
    })?;
    // Detection finds an address that a neighbour has.
    b.sh("ip -6 addr add fd00:9::1/64 dev eth0 nodad")?;
    a.sh("ip -6 addr add fd00:9::1/64 dev eth0")?;
    until("the duplicate is detected", || {
        let shown = a.sh("ip -6 addr show dev eth0")?;
        ensure!(shown.contains("dadfailed"), "{shown}");
        Ok(())
    })
}

#[test]
fn a_kernel_without_ipv6_needs_no_parameters_of_it() -> Result<()> {
    let node = Node::new()?;
    let dir = node.dir().join("without-ipv6");
    fs::create_dir_all(dir.join("sys/net"))?;
    fs::create_dir(dir.join("proc"))?;
    for shared in ["kernel", "net/ipv4", "net/core"] {
        symlink(dir.join("proc/sys").join(shared), dir.join("sys").join(shared))?;
    }
    let dir = dir.display();
    node.sh(&format!("mount -t proc proc {dir}/proc"))?;
    node.sh(&format!("mount --bind {dir}/sys /proc/sys"))?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    cni.check(&pod, &added)?;
    ping(&pod, added.gateway()?)
}

#[test]
fn a_parameter_that_cannot_be_written_is_an_error_that_names_it() -> Result<()> {
    let Fixture { node, cni, pod: first, .. } = one_pod(Config::new("10.1.0.0/24"))?;
    cni.del(&first)?;
    let pod = node.pod("b")?;
    node.sh("mount --bind /proc/sys /proc/sys")?;
    node.sh("mount -o remount,bind,ro /proc/sys")?;
    let error = refused(cni.add(&pod), 100)?;
    ensure!(error.to_string().contains("accept_redirects"), "{error}");
    cni.ensure_nothing_left()?;
    ensure!(pod.links()?.len() == 1, "{:?}", pod.links()?);
    node.sh("umount /proc/sys")?;
    cni.add(&pod).map(drop)
}

/// The link-local address of `eth0`, once its detection of duplicates has ended.
fn settled_link_local(pod: &Pod) -> Result<Ipv6Addr> {
    let mut found = None;
    until("the pod has a link-local address", || {
        let addresses = pod.link("eth0")?.addresses;
        let usable = addresses.iter().find(|a| a.scope == "link" && !a.tentative);
        match usable.context("not yet")?.local {
            IpAddr::V6(ip) => found = Some(ip),
            IpAddr::V4(ip) => anyhow::bail!("{ip}"),
        }
        Ok(())
    })?;
    found.context("no link-local address")
}

/// Three pods: one that attacks, one as ADD left it, and one with these parameters set back to what the
/// kernel begins with, to show that the attack works.
struct Scene {
    _node: Node,
    attacker: Pod,
    victim: Pod,
    control: Pod,
}

impl Scene {
    fn new(parameters: &[&str]) -> Result<Self> {
        let node = Node::new()?;
        let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
        let add = |name| -> Result<_> {
            let pod = node.pod(name)?;
            cni.add(&pod)?;
            Ok(pod)
        };
        let (attacker, victim, control) = (add("attacker")?, add("victim")?, add("control")?);
        for key in parameters {
            set_sysctl(&control, key, "1")?;
        }
        Ok(Self { _node: node, attacker, victim, control })
    }

    /// Attacks until the control has been deceived, and once more. The victim must not be.
    fn only_the_control_is_deceived(
        &self,
        attack: impl Fn(&Pod) -> Result<()>,
        is_deceived: impl Fn(&Pod) -> Result<bool>,
    ) -> Result<()> {
        until("the control is deceived", || {
            attack(&self.victim)?;
            attack(&self.control)?;
            ensure!(is_deceived(&self.control)?, "not yet");
            Ok(())
        })?;
        attack(&self.victim)?;
        attack(&self.control)?;
        ensure!(!is_deceived(&self.victim)?, "the victim is deceived: {:?}", self.victim.routes()?);
        Ok(())
    }
}

#[test]
fn a_router_advertisement_of_a_pod_gives_its_neighbours_no_route() -> Result<()> {
    let scene = Scene::new(&["net/ipv6/conf/eth0/accept_ra"])?;
    let router = settled_link_local(&scene.attacker)?;
    let index = scene.attacker.link("eth0")?.ifindex;
    let advertise = |_: &Pod| {
        scene.attacker.run(|| {
            let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))?;
            sockopt::set_ipv6_multicast_hops(&socket, 255)?;
            // RFC 4861, section 4.2, with a lifetime of 1800 s. The kernel fills in the checksum.
            let message = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let to = SocketAddrV6::new(all_nodes, 0, 0, index);
            sendto(&socket, &message, SendFlags::empty(), &to)?;
            Ok(())
        })
    };
    scene.only_the_control_is_deceived(advertise, |pod| {
        let mut routes = pod.routes()?.into_iter();
        Ok(routes.any(|route| route.dst == "default" && route.gateway == Some(router.into())))
    })
}

#[test]
fn a_redirect_of_a_pod_moves_no_route_of_its_neighbours() -> Result<()> {
    let keys = ["net/ipv4/conf/all/accept_redirects", "net/ipv4/conf/eth0/accept_redirects"];
    let scene = Scene::new(&keys)?;
    let of = |pod: &Pod| -> Result<Ipv4Addr> {
        let addresses = pod.link("eth0")?.addresses;
        let mut global = addresses.iter().filter(|address| address.scope == "global");
        match global.next().context("no address")?.local {
            IpAddr::V4(ip) => Ok(ip),
            IpAddr::V6(ip) => anyhow::bail!("{ip}"),
        }
    };
    let (gateway, outside) = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(198, 51, 100, 1));
    let attacker = of(&scene.attacker)?;
    // The victims know the attacker as a neighbour.
    for pod in [&scene.victim, &scene.control] {
        ping(pod, attacker.into())?;
        set_sysctl(pod, "net/ipv4/conf/eth0/shared_media", "1")?;
    }
    let redirect = |pod: &Pod| {
        let victim = of(pod)?;
        // The route is only moved if the destination is in use.
        pod.sh(&format!("ip route get {outside}"))?;
        // Of quoted pings, the kernel only follows those that it has itself replied to.
        let quoted = ipv4(victim, outside, &[0, 0, 0, 0, 0, 1, 0, 1]);
        let mut message = vec![5, 1, 0, 0];
        message.extend(attacker.octets());
        message.extend(quoted);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let packet = ipv4(gateway, victim, &message);
        scene.attacker.run(|| {
            let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
            sendto(&socket, &packet, SendFlags::empty(), &SocketAddrV4::new(victim, 0))?;
            Ok(())
        })
    };
    scene.only_the_control_is_deceived(redirect, |pod| {
        Ok(pod.sh(&format!("ip route get {outside}"))?.contains(&format!("via {attacker} ")))
    })
}

/// An ICMP packet with an IPv4 header.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, 1, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// The checksum of RFC 1071 over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
