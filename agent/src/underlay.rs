//! The links that have this node's underlay addresses. Every pass looks them up, so that a changed
//! address, link or MTU takes effect without a restart.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weir_netlink::{Error, Netlink, address, link};

/// A link that has one of the node's underlay addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The node's address.
    pub ip: IpAddr,
    /// Index of the link.
    pub link: u32,
    /// Its interface name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The subnets on the link, of the address's family.
    pub subnets: Vec<IpNetwork>,
}

impl Uplink {
    /// Whether an address can be reached on the link without a router.
    pub fn is_on_link(&self, ip: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(ip))
    }
}

/// The uplinks of the node's addresses, in the order of `ips`. An address is left out if no link has
/// it or if its link is down.
pub async fn find(netlink: &Netlink, ips: &[IpAddr]) -> Result<Vec<Uplink>, Error> {
    let addresses = address::list_all(netlink).await?;
    let mut uplinks = Vec::new();
    for ip in ips {
        let Some(owner) = addresses.iter().find(|address| address.network.ip() == *ip) else {
            continue;
        };
        let Some(found) = link::find_by_index(netlink, owner.link).await? else { continue };
        if !found.is_up {
            continue;
        }
        let subnets = addresses
            .iter()
            .filter(|address| address.link == owner.link)
            .map(|address| address.network)
            .filter(|network| network.is_ipv4() == ip.is_ipv4())
            .collect();
        let (link, name, mtu) = (found.index, found.name, found.mtu);
        uplinks.push(Uplink { ip: *ip, link, name, mtu, subnets });
    }
    Ok(uplinks)
}
