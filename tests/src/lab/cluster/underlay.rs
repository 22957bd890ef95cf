//! The network between the nodes: a bridge for each subnet and a router between them, all in one
//! network namespace of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::settings::Families;
use crate::lab::namespaces::Namespaces;
use crate::lab::node::Node;
use crate::lab::observe::Observe;
use crate::lab::stack::Stack;

/// The number of one of the underlay's subnets.
pub(super) type Segment = u8;

/// The router's address in each subnet.
const ROUTER: u8 = 1;
/// The subnet of machines outside of the cluster.
const OUTSIDE: Segment = 9;

/// The switches and the router.
#[derive(Debug)]
pub struct Underlay {
    machine: Node,
    families: Families,
    mtu: u32,
}

/// A host's addresses in a subnet, IPv4 first.
pub(super) fn addresses(families: Families, segment: Segment, host: u8) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    if families.ipv4() {
        addresses.push(Ipv4Addr::new(172, 31, 70 + segment, host).into());
    }
    if families.ipv6() {
        let subnet = 0x70 + u16::from(segment);
        addresses.push(Ipv6Addr::new(0xfd00, subnet, 0, 0, 0, 0, 0, host.into()).into());
    }
    addresses
}

impl Underlay {
    pub(super) fn new(families: Families, mtu: u32) -> Result<Self> {
        let machine = Node::new()?;
        machine.set_sysctl("net/ipv4/ip_forward", "1")?;
        machine.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
        Ok(Self { machine, families, mtu })
    }

    /// Creates a subnet with the router in it.
    pub(super) fn add_segment(&self, segment: Segment) -> Result<()> {
        let (lan, mtu) = (lan(segment), self.mtu);
        // Snooping would delay multicast, and with it neighbour discovery.
        self.machine.sh(&format!("ip link add {lan} mtu {mtu} type bridge mcast_snooping 0"))?;
        self.machine.set_sysctl(&format!("net/ipv6/conf/{lan}/accept_dad"), "0")?;
        self.machine.sh(&format!("ip link set {lan} up"))?;
        for address in addresses(self.families, segment, ROUTER) {
            add_address(&self.machine, address, &lan)?;
        }
        Ok(())
    }

    /// Connects a machine: it gets an interface `uplink` with addresses and default routes.
    pub(super) fn plug(&self, machine: &Node, segment: Segment, host: u8) -> Result<Vec<IpAddr>> {
        let (lan, port, mtu) = (lan(segment), port(segment, host), self.mtu);
        let netns = machine.namespaces()?.net_path();
        self.machine.sh(&format!(
            "ip link add {port} mtu {mtu} type veth peer name uplink mtu {mtu} netns {netns}"
        ))?;
        self.machine.sh(&format!("ip link set {port} master {lan} up"))?;
        let addresses = addresses(self.families, segment, host);
        // As on a machine that has been up for a while: without this, neighbour discovery would wait
        // for duplicate address detection of the link-local address.
        machine.set_sysctl("net/ipv6/conf/uplink/accept_dad", "0")?;
        machine.sh("ip link set uplink up")?;
        self.configure(machine, &addresses)?;
        Ok(addresses)
    }

    /// Gives an uplink that is up its addresses and default routes.
    pub(super) fn configure(&self, machine: &Node, addresses: &[IpAddr]) -> Result<()> {
        for address in addresses {
            add_address(machine, *address, "uplink")?;
            let (family, router) = match *address {
                IpAddr::V4(own) => {
                    let [a, b, c, _] = own.octets();
                    ("-4", IpAddr::from([a, b, c, ROUTER]))
                }
                IpAddr::V6(own) => {
                    let [a, b, c, d, ..] = own.segments();
                    ("-6", IpAddr::from([a, b, c, d, 0, 0, 0, ROUTER.into()]))
                }
            };
            machine.sh(&format!("ip {family} route replace default via {router} dev uplink"))?;
        }
        Ok(())
    }

    pub(super) fn outside(&self) -> Result<(Node, Vec<IpAddr>)> {
        self.add_segment(OUTSIDE)?;
        let machine = Node::new()?;
        let addresses = self.plug(&machine, OUTSIDE, 9)?;
        Ok((machine, addresses))
    }

    /// A machine on the first subnet that is not a node.
    pub(super) fn neighbour(&self, host: u8) -> Result<(Node, Vec<IpAddr>)> {
        let machine = Node::new()?;
        let addresses = self.plug(&machine, 0, host)?;
        Ok((machine, addresses))
    }

    /// A directory that lives as long as the underlay.
    pub(super) fn dir(&self) -> &std::path::Path {
        self.machine.dir()
    }

    /// Sets the MTU of every switch port, as the owner of the network would.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        // A bridge's MTU follows those of its ports unless it was set: both are.
        for link in self.machine.links()? {
            if link.name != "lo" {
                self.machine.sh(&format!("ip link set {} mtu {mtu}", link.name))?;
            }
        }
        Ok(())
    }
}

impl Stack for Underlay {
    fn namespaces(&self) -> Result<&Namespaces> {
        self.machine.namespaces()
    }
}

fn lan(segment: Segment) -> String {
    format!("lan{segment}")
}

fn port(segment: Segment, host: u8) -> String {
    format!("port{segment}-{host}")
}

/// Adds an address without duplicate address detection.
pub(super) fn add_address(machine: &Node, address: IpAddr, link: &str) -> Result<()> {
    let line = match address {
        IpAddr::V4(_) => format!("ip addr replace {address}/24 dev {link}"),
        IpAddr::V6(_) => format!("ip addr replace {address}/64 dev {link} nodad"),
    };
    machine.sh(&line).map(drop)
}
