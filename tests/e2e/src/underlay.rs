//! The network between the machines of the cluster: a bridge on the hub, a link for each node.
//!
//! Nothing of it is in the machine's own network namespace. The hub does not forward: a packet
//! between nodes' pods that the pod network does not carry is lost, and does not find its way by
//! the hub's routes.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::Result;

use crate::place::Place;
use crate::shape::prefix;

/// Configures the hub.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn prepare_hub(hub: &Place, addresses: &[IpAddr]) -> Result<()> {
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

/// Connects a node to the hub and configures its side.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn connect(
    hub: &Place,
    node: &Place,
    number: u8,
    addresses: &[IpAddr],
    gateways: &[IpAddr],
) -> Result<()> {
    let (port, pid) = (format!("port{number}"), node.anchor.pid);
    // That of a node that has ended is perhaps still on its way out.
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
    // Leads nowhere, but a Service's address needs a way out before it is translated.
    for gateway in gateways {
        writeln!(lines, "ip route add default via {gateway}")?;
    }
    node.run(&lines).map(drop)
}

/// Tells the hub which node has a subnet: the API server talks to pods.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn route(hub: &Place, subnet: &str, node: &[IpAddr]) -> Result<()> {
    let is_v6 = subnet.contains(':');
    let Some(via) = node.iter().find(|address| address.is_ipv6() == is_v6) else { return Ok(()) };
    hub.run(&format!("ip route replace {subnet} via {via}")).map(drop)
}

fn address_lines(lines: &mut String, device: &str, addresses: &[IpAddr]) -> Result<()> {
    for address in addresses {
        // Nobody else can have it: no need to ask around first.
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        writeln!(lines, "ip addr add {address}/{} dev {device}{nodad}", prefix(address))?;
    }
    Ok(())
}
