//! Peers that exist on paper only.

use std::net::IpAddr;

use weir_tests::lab::NodeManifest;

/// All of their pods.
pub(crate) const NETWORK: &str = "10.0.0.0/8";

/// One of up to 16,000.
pub(crate) fn peer(number: u32) -> NodeManifest {
    let [_, _, high, low] = number.to_be_bytes();
    // A node's address is none of a network or of a broadcast.
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
    fn no_two_of_them_claim_the_same() {
        let peers: Vec<_> = (0..10_000).map(peer).collect();
        let subnets: BTreeSet<_> = peers.iter().flat_map(NodeManifest::subnets).collect();
        let addresses: BTreeSet<_> = peers.iter().flat_map(NodeManifest::addresses).collect();
        assert_eq!((subnets.len(), addresses.len()), (10_000, 10_000));
    }
}
