//! The source of a pod's MTU: the configuration, the overlay or the uplink.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Observe, Stack};

fn mtu_on(node: &Node, config: Config) -> Result<u32> {
    let cni = Cni::new(node, config)?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    let (host, eth0) = (node.link(&added.host()?.name)?, pod.link("eth0")?);
    ensure!(host.mtu == eth0.mtu, "host side {}, pod {}", host.mtu, eth0.mtu);
    ensure!(added.container()?.mtu == Some(eth0.mtu), "{}", added.raw);
    Ok(eth0.mtu)
}

fn write_subnet_env(node: &Node, text: &str) -> Result<()> {
    let run = node.dir().join("runDir");
    std::fs::create_dir_all(&run)?;
    Ok(std::fs::write(run.join("subnet.env"), text)?)
}

const SUBNET_ENV: &str = "WEIR_NETWORK=10.0.0.0/8\nWEIR_SUBNET=10.1.0.1/24\nWEIR_MTU=1430\n";

#[test]
fn the_mtu_of_the_configuration_comes_first() -> Result<()> {
    let node = Node::new()?;
    node.add_uplink(1450)?;
    write_subnet_env(&node, SUBNET_ENV)?;
    let mtu = mtu_on(&node, Config::new("10.1.0.0/24").with("mtu", 1380))?;
    ensure!(mtu == 1380, "{mtu}");
    Ok(())
}

#[test]
fn the_mtu_of_the_overlay_comes_second() -> Result<()> {
    for config in [Config::new("10.1.0.0/24"), Config::new("10.1.0.0/24").with("mtu", 0)] {
        let node = Node::new()?;
        node.add_uplink(1450)?;
        write_subnet_env(&node, SUBNET_ENV)?;
        let mtu = mtu_on(&node, config)?;
        ensure!(mtu == 1430, "{mtu}");
    }
    Ok(())
}

#[test]
fn the_mtu_of_the_uplink_comes_third() -> Result<()> {
    let node = Node::new()?;
    node.sh("ip link add other mtu 1300 type bridge")?;
    node.sh("ip addr add 198.51.100.1/24 dev other")?;
    node.sh("ip link set other up")?;
    node.add_uplink(1450)?;
    let mtu = mtu_on(&node, Config::new("10.1.0.0/24"))?;
    ensure!(mtu == 1450, "{mtu}");
    Ok(())
}

#[test]
fn the_mtu_of_an_ipv6_only_uplink_is_used() -> Result<()> {
    let node = Node::new()?;
    node.sh("ip link add uplink mtu 1420 type veth peer name wire mtu 1420")?;
    for line in [
        "ip link set wire up",
        "ip link set uplink up",
        "ip -6 addr add fd00:9::2/64 dev uplink nodad",
        "ip -6 route add default via fd00:9::1",
    ] {
        node.sh(line)?;
    }
    let mtu = mtu_on(&node, Config::new("fd00:1::/64"))?;
    ensure!(mtu == 1420, "{mtu}");
    Ok(())
}

#[test]
fn the_mtu_of_the_preferred_uplink_is_used() -> Result<()> {
    let node = Node::new()?;
    node.add_uplink(1450)?;
    for line in [
        "ip route replace default via 192.0.2.1 metric 200",
        "ip route del default via 192.0.2.1 metric 0",
        "ip link add other mtu 1420 type veth peer name far mtu 1420",
        "ip addr add 198.51.100.2/24 dev other",
        "ip link set other up",
        "ip link set far up",
        "ip route add default via 198.51.100.1 metric 100",
    ] {
        node.sh(line)?;
    }
    let mtu = mtu_on(&node, Config::new("10.1.0.0/24"))?;
    ensure!(mtu == 1420, "{mtu}");
    Ok(())
}

#[test]
fn the_default_mtu_is_that_of_ethernet() -> Result<()> {
    let node = Node::new()?;
    // A link without a default route is not an uplink.
    node.sh("ip link add other mtu 1300 type bridge")?;
    node.sh("ip addr add 198.51.100.1/24 dev other")?;
    node.sh("ip link set other up")?;
    let mtu = mtu_on(&node, Config::new("10.1.0.0/24"))?;
    ensure!(mtu == 1500, "{mtu}");
    Ok(())
}

#[test]
fn large_packets_pass_between_pods_with_a_large_mtu() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24").with("mtu", 9000))?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let (_, b_added) = (cni.add(&a)?, cni.add(&b)?);
    let address = b_added.address()?;
    // 28 bytes of headers; fragmentation is forbidden.
    a.sh(&format!("ping -n -c 1 -w 5 -M do -s 8972 {address}"))?;
    a.sh(&format!("ping -n -c 1 -w 5 -M do -s 8972 {}", b_added.gateway()?))?;
    Ok(())
}
