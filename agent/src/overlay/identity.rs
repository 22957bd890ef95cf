//! Identities that every node computes for itself and for others, so that nothing needs to be
//! published and nothing can be stale.

use sha2::{Digest, Sha256};
use weir_netlink::MacAddr;

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

/// The name of the tunnel device.
pub fn tunnel_name(vni: u32) -> String {
    format!("weir.{vni}")
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
}
