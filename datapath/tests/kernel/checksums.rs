//! The states that a packet's checksum can be in: computed by the sender, left to a device, or summed
//! up by the device that has received the packet.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use weir_datapath::common::{Config, V4, V6, protocol};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::pair::Pair;
use crate::traffic::{tcp, udp};

/// UDP datagrams that the kernel has found to have a wrong checksum.
fn wrong_checksums(stack: &impl Stack) -> Result<u64> {
    let text = stack.sh("cat /proc/thread-self/net/snmp")?;
    let mut v4 = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = v4.next().zip(v4.next()).context("no counters")?;
    let mut v4 = names.split(' ').zip(values.split(' '));
    let v4 = v4.find(|(name, _)| *name == "InCsumErrors").map(|(_, value)| value);
    let text = stack.sh("cat /proc/thread-self/net/snmp6")?;
    let v6 = text.lines().find_map(|line| line.strip_prefix("Udp6InCsumErrors"));
    let [v4, v6] = [v4, v6].map(|value| value.context("no such counter"));
    Ok(v4?.trim().parse::<u64>()? + v6?.trim().parse::<u64>()?)
}

/// Both ways across nodes, with a tunnel whose outer checksum covers the whole packet: who receives it
/// keeps the sum of all that was verified (`CHECKSUM_COMPLETE`), and the kernel believes that sum
/// for the packet inside. Datagrams above some 76 bytes are checked with it.
fn sums_of_receivers_stay_right<A: Addresses>(flags: u32, gro: &str) -> Result<()> {
    let mut pair = Pair::with_tunnel(1, flags, "udpcsum")?;
    for scene in &pair.nodes {
        for device in ["uplink", "weir.1", "veth0"] {
            scene.node.sh(&format!("ethtool --features {device} tx off"))?;
        }
        scene.node.sh(&format!("ethtool --features uplink gro {gro}"))?;
        scene.pods[0].sh("ethtool --features eth0 tx off")?;
    }
    let (vip, backend) = (A::service(10), A::pod(100));
    let [near, far] = &mut pair.nodes;
    near.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    near.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: A, port| SocketAddr::new(address.into(), port);
    let (client, server) = (&near.pods[0], &far.pods[0]);
    for size in [60, 100, 500, 1300] {
        udp(client, server, address(backend, 5353), address(vip, 53), size)
            .with_context(|| format!("{size} bytes"))?;
    }
    tcp(client, server, address(backend, 8080), address(vip, 80), 1_000_000)?;
    for stack in [client, server] {
        let wrong = wrong_checksums(stack)?;
        ensure!(wrong == 0, "{wrong} datagrams were found wrong");
    }
    Ok(())
}

#[test]
fn checksums_that_a_receiver_has_summed_up_stay_right_by_ipv4() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        for gro in ["on", "off"] {
            sums_of_receivers_stay_right::<V4>(flags, gro).context(gro)?;
        }
    }
    Ok(())
}

#[test]
fn checksums_that_a_receiver_has_summed_up_stay_right_by_ipv6() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        for gro in ["on", "off"] {
            sums_of_receivers_stay_right::<V6>(flags, gro).context(gro)?;
        }
    }
    Ok(())
}
