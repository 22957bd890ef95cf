//! Sets of addresses as the fewest possible networks.
//!
//! nftables refuses a set whose intervals overlap. The pod subnets of all nodes usually merge into
//! one network, so the merged set does not change with every node that joins or leaves.

use ipnetwork::IpNetwork;

/// The networks of one family that contain exactly the addresses of `networks`: disjoint, sorted, and
/// without two halves of a larger network.
pub(super) fn merged<'a>(
    networks: impl IntoIterator<Item = &'a IpNetwork>,
    ipv4: bool,
) -> Vec<IpNetwork> {
    let mut sorted: Vec<_> = networks
        .into_iter()
        .filter(|network| network.is_ipv4() == ipv4)
        .filter_map(|network| IpNetwork::new(network.network(), network.prefix()).ok())
        .collect();
    sorted.sort_by_key(|network| (network.ip(), network.prefix()));
    let mut kept: Vec<IpNetwork> = Vec::new();
    for network in sorted {
        if kept.last().is_some_and(|last| last.contains(network.ip())) {
            continue;
        }
        kept.push(network);
        while let [.., first, second] = kept[..]
            && let Some(whole) = whole(first, second)
        {
            kept.truncate(kept.len() - 2);
            kept.push(whole);
        }
    }
    kept
}

/// The network that consists of these two halves.
fn whole(first: IpNetwork, second: IpNetwork) -> Option<IpNetwork> {
    let larger = |half: IpNetwork| {
        let network = IpNetwork::new(half.ip(), half.prefix().checked_sub(1)?).ok()?;
        IpNetwork::new(network.network(), network.prefix()).ok()
    };
    (first.prefix() == second.prefix()).then_some(())?;
    larger(first).filter(|whole| larger(second) == Some(*whole))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn merge(networks: &[&str], ipv4: bool) -> Vec<String> {
        let networks: Vec<IpNetwork> = networks.iter().map(|text| text.parse().unwrap()).collect();
        merged(&networks, ipv4).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_network_within_another_one_is_left_out() {
        let all = ["10.244.3.0/24", "10.244.0.0/16", "10.244.0.0/16", "fd00::/64", "10.244.9.7/16"];
        assert_eq!(merge(&all, true), ["10.244.0.0/16"]);
        assert_eq!(merge(&all, false), ["fd00::/64"]);
    }

    #[test]
    fn halves_merge_repeatedly() {
        let quarters = ["10.1.0.0/24", "10.1.1.0/24", "10.1.3.0/24", "10.1.2.0/24"];
        assert_eq!(merge(&quarters, true), ["10.1.0.0/22"]);
        assert_eq!(merge(&["10.1.1.0/24", "10.1.2.0/24"], true).len(), 2, "neighbours, not halves");
        assert_eq!(merge(&["0.0.0.0/1", "128.0.0.0/1"], true), ["0.0.0.0/0"]);
        assert_eq!(merge(&["::/1", "8000::/1", "0.0.0.0/0"], false), ["::/0"]);
    }

    fn networks() -> impl Strategy<Value = Vec<IpNetwork>> {
        let network = (0..64u32, 24..=32u8).prop_map(|(host, prefix)| {
            IpNetwork::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + host * 16)), prefix).unwrap()
        });
        prop::collection::vec(network, 0..20)
    }

    proptest! {
        #[test]
        fn merging_neither_adds_nor_loses_an_address(networks in networks(), host in 0..1200u32) {
            let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + host));
            let holds = |all: &[IpNetwork]| all.iter().filter(|n| n.contains(address)).count();
            let merged = merged(&networks, true);
            prop_assert_eq!(holds(&merged), usize::from(holds(&networks) > 0));
        }
    }
}
