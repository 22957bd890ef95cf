//! Identities that every node computes for itself and for others, so that nothing needs to be
//! published and nothing can be stale.

use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};
use weir_netlink::MacAddr;
use weir_node::names::TUNNEL_PREFIX;

/// The hardware address of a node's tunnel device: a hash of its name and the VNI, locally
/// administered.
pub fn vtep_mac(node_name: &str, vni: u32) -> MacAddr {
    let mut hash = Sha256::new();
    hash.update(node_name.as_bytes());
    hash.update([0]);
    hash.update(vni.to_be_bytes());
    let digest = hash.finalize();
    let mut octets = [0; 6];
    octets.copy_from_slice(&digest[..6]);
    // Locally administered, not a group address.
    octets[0] = (octets[0] & 0xfc) | 0x02;
    MacAddr::new(octets)
}

/// The IPv6 link-local address that belongs to a tunnel device's hardware address (RFC 4291,
/// appendix A): the next hop of IPv6 routes.
///
/// A next hop of global scope would have to be looked up, and the kernel refuses it as soon as any
/// other route covers it, also with `onlink`. A link-local one is on its link whatever else there is.
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let interface = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f];
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(u64::from_be_bytes(interface)))
}

/// The name of the tunnel device.
pub fn tunnel_name(vni: u32) -> String {
    format!("{TUNNEL_PREFIX}{vni}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_by_name_and_vni_and_never_change() {
        let mac = vtep_mac("node-1", 1);
        assert_ne!(mac, vtep_mac("node-2", 1));
        assert_ne!(mac, vtep_mac("node-1", 2));
        // Nodes of different versions must agree.
        assert_eq!(mac.octets()[0] & 0x03, 0x02);
        assert!(mac.is_unicast());
    }

    #[test]
    fn a_link_local_address_is_made_as_the_kernel_makes_it() {
        let mac = MacAddr::new([0x82, 0xf9, 0x34, 0x88, 0xa9, 0x0e]);
        assert_eq!(link_local(mac).to_string(), "fe80::80f9:34ff:fe88:a90e");
    }
}
