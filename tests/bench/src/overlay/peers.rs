//! Node manifests of peers that do not exist.

use std::net::IpAddr;

use weir_tests::lab::NodeManifest;

/// The range of all peers' pods.
pub(crate) const NETWORK: &str = "10.0.0.0/8";

/// One of up to 16,000 peers.
pub(crate) fn peer(number: u32) -> NodeManifest {
    let [_, _, high, low] = number.to_be_bytes();
    // A node's address must not be a network or broadcast address.
    let [_, _, third, fourth] = (number / 250 * 256 + number % 250 + 1).to_be_bytes();
    NodeManifest::new(&format!("peer{number}"))
        .pod_cidrs(&[format!("10.{}.{low}.0/24", 128 + high)])
        .internal_ips(&[IpAddr::from([198, 18, third, fourth])])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn peers_have_different_subnets_and_addresses() {
        let peers: Vec<_> = (0..10_000).map(peer).collect();
        let subnets: BTreeSet<_> = peers.iter().flat_map(NodeManifest::subnets).collect();
        let addresses: BTreeSet<_> = peers.iter().flat_map(NodeManifest::addresses).collect();
        assert_eq!((subnets.len(), addresses.len()), (10_000, 10_000));
    }
}
