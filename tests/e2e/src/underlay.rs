//! The network between the machines of the cluster: a bridge on the hub and a veth pair for each
//! node.
//!
//! Nothing of it is in the host's own network namespace. The hub does not forward packets: those
//! between pods of different nodes must be carried by the pod network, and are never routed by the
//! hub.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::Result;

use crate::machine::Machine;
use crate::spec::prefix_length;

/// Configures the hub.
///
/// # Errors
/// When a command fails.
pub(crate) fn prepare_hub(hub: &Machine, addresses: &[IpAddr]) -> Result<()> {
    let mut lines = String::from(
        "mount -t sysfs sysfs /sys\n\
         echo 0 >/proc/sys/net/ipv4/ip_forward\n\
         echo 0 >/proc/sys/net/ipv6/conf/all/forwarding\n\
         ip link add underlay type bridge\n",
    );
    address_lines(&mut lines, "underlay", addresses)?;
    lines.push_str("ip link set underlay up\n");
    hub.run(&lines).map(drop)
}

/// Connects a node to the hub and configures the node's interface.
///
/// # Errors
/// When a command fails.
pub(crate) fn connect(
    hub: &Machine,
    node: &Machine,
    number: u8,
    addresses: &[IpAddr],
    gateways: &[IpAddr],
) -> Result<()> {
    let (port, pid) = (format!("port{number}"), node.anchor.pid);
    // The kernel may not have removed the interface of a node that has just been powered off.
    hub.run(&format!(
        "ip link del {port} 2>/dev/null || true\n\
         ip link add {port} type veth peer name eth0 netns {pid}\n\
         ip link set {port} master underlay up"
    ))?;
    let mut lines = String::from(
        "echo 1 >/proc/sys/net/ipv4/ip_forward\n\
         echo 1 >/proc/sys/net/ipv6/conf/all/forwarding\n\
         for family in iptables ip6tables; do\n\
         file=/proc/sys/net/bridge/bridge-nf-call-$family\n\
         if [ -e $file ]; then echo 1 >$file; fi\n\
         done\n",
    );
    address_lines(&mut lines, "eth0", addresses)?;
    lines.push_str("ip link set eth0 up\n");
    // The route leads nowhere, but a packet to a ClusterIP needs one before its DNAT.
    for gateway in gateways {
        writeln!(lines, "ip route add default via {gateway}")?;
    }
    node.run(&lines).map(drop)
}

/// Adds a route to a node's subnet on the hub, for the API server's connections to pods.
///
/// # Errors
/// When a command fails.
pub(crate) fn route(hub: &Machine, subnet: &str, node: &[IpAddr]) -> Result<()> {
    let is_v6 = subnet.contains(':');
    let Some(via) = node.iter().find(|address| address.is_ipv6() == is_v6) else { return Ok(()) };
    hub.run(&format!("ip route replace {subnet} via {via}")).map(drop)
}

fn address_lines(lines: &mut String, device: &str, addresses: &[IpAddr]) -> Result<()> {
    for address in addresses {
        // No other machine can have the address: duplicate address detection would only cost time.
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        writeln!(lines, "ip addr add {address}/{} dev {device}{nodad}", prefix_length(address))?;
    }
    Ok(())
}
