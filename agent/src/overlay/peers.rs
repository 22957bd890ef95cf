//! Selecting the nodes to reach. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::SystemTime,
};

use ipnetwork::IpNetwork;

use weir_model::{Node, NodeUid, Snapshot};

/// The nodes of a snapshot, as this node uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// This node, if the source knows it.
    pub own: Option<Arc<Node>>,
    /// The other nodes, oldest first.
    pub peers: Vec<Arc<Node>>,
    /// Nodes that are left out.
    pub refused: Vec<Refusal>,
}

/// A node that is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// Its name.
    pub node: String,
    /// Why.
    pub reason: Reason,
}

/// Why a node is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Reason {
    /// It has no subnet yet.
    #[error(
        "it has no podCIDR: start kube-controller-manager with --allocate-node-cidrs=true, or set \
         spec.podCIDR"
    )]
    NoPodCidr,
    /// It has no underlay address.
    #[error("it has no InternalIP address")]
    NoUnderlay,
    /// Its subnet overlaps that of an older node.
    #[error("its podCIDR {cidr} overlaps {other_cidr} of the older node {other}")]
    Overlap {
        /// Its subnet.
        cidr: IpNetwork,
        /// The older node's subnet.
        other_cidr: IpNetwork,
        /// The older node.
        other: String,
    },
    /// An older node has the same underlay address.
    #[error("the older node {other} has the same address {ip}")]
    SameEndpoint {
        /// The address.
        ip: IpAddr,
        /// The older node.
        other: String,
    },
}

/// Selects the peers of the node `own_name`. Of two nodes with the same address or overlapping
/// subnets, the newer one is refused. This node itself takes precedence over all others, because its
/// own pods use its subnets.
pub fn select(snapshot: &Snapshot, own_name: &str) -> Selection {
    let mut selection =
        Selection { own: snapshot.node_named(own_name).cloned(), ..Selection::default() };
    let own_uid = selection.own.as_ref().map(|own| own.uid.clone());
    let mut others: Vec<&Arc<Node>> =
        snapshot.nodes.values().filter(|node| Some(&node.uid) != own_uid.as_ref()).collect();
    others.sort_by(|a, b| age(a).cmp(&age(b)));

    let mut claims = Claims::default();
    if let Some(own) = &selection.own {
        // The first claims cannot conflict with others.
        let _ = claims.claim(own);
        if let Some(reason) = incomplete(own) {
            selection.refused.push(Refusal { node: own.name.clone(), reason });
        }
    }
    for node in others {
        match incomplete(node).map_or_else(|| claims.claim(node), Err) {
            Ok(()) => selection.peers.push(Arc::clone(node)),
            Err(reason) => selection.refused.push(Refusal { node: node.name.clone(), reason }),
        }
    }
    selection.refused.sort();
    selection
}

/// The sort key: the oldest node first, and nodes of unknown age last.
fn age(node: &Node) -> (bool, Option<SystemTime>, &NodeUid) {
    (node.created.is_none(), node.created, &node.uid)
}

fn incomplete(node: &Node) -> Option<Reason> {
    if node.pod_cidrs.is_empty() {
        return Some(Reason::NoPodCidr);
    }
    node.underlay_ips.is_empty().then_some(Reason::NoUnderlay)
}

/// The addresses and subnets of the nodes so far.
#[derive(Default)]
struct Claims<'a> {
    /// Subnets by family and first address, each with its last address and its node.
    subnets: BTreeMap<(bool, u128), (u128, IpNetwork, &'a str)>,
    endpoints: HashMap<IpAddr, &'a str>,
}

impl<'a> Claims<'a> {
    /// Adds all claims of a node, or none on a conflict.
    fn claim(&mut self, node: &'a Node) -> Result<(), Reason> {
        for ip in &node.underlay_ips {
            if let Some(other) = self.endpoints.get(ip) {
                return Err(Reason::SameEndpoint { ip: *ip, other: (*other).to_owned() });
            }
        }
        for cidr in &node.pod_cidrs {
            if let Some((other_cidr, other)) = self.overlapping(*cidr) {
                let other = other.to_owned();
                return Err(Reason::Overlap { cidr: *cidr, other_cidr, other });
            }
        }
        for cidr in &node.pod_cidrs {
            let (first, last) = bounds(*cidr);
            self.subnets.insert((cidr.is_ipv4(), first), (last, *cidr, &node.name));
        }
        self.endpoints.extend(node.underlay_ips.iter().map(|ip| (*ip, node.name.as_str())));
        Ok(())
    }

    fn overlapping(&self, cidr: IpNetwork) -> Option<(IpNetwork, &'a str)> {
        let (first, last) = bounds(cidr);
        let family = cidr.is_ipv4();
        // The claimed subnets are disjoint, so only the last one that begins at or before the end
        // of this one can overlap it.
        let (_, (other_last, other, name)) =
            self.subnets.range((family, 0)..=(family, last)).next_back()?;
        (*other_last >= first).then_some((*other, *name))
    }
}

fn bounds(cidr: IpNetwork) -> (u128, u128) {
    let number = |ip| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    (number(cidr.network()), number(cidr.broadcast()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use weir_model::Nodes;

    /// A node that was created at second `age`.
    pub(crate) fn node(name: &str, age: u64, cidrs: &[&str], ips: &[&str]) -> Node {
        Node {
            uid: NodeUid(format!("uid-{name}-{age}")),
            name: name.to_owned(),
            created: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age)),
            pod_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
            underlay_ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            network_unavailable: false,
            zone: None,
        }
    }

    pub(crate) fn snapshot(nodes: Vec<Node>) -> Snapshot {
        let nodes: Nodes =
            nodes.into_iter().map(|node| (node.uid.clone(), Arc::new(node))).collect();
        Snapshot { nodes: nodes.into(), ..Snapshot::default() }
    }

    fn names(selection: &Selection) -> Vec<&str> {
        selection.peers.iter().map(|peer| peer.name.as_str()).collect()
    }

    #[test]
    fn every_other_node_is_a_peer() {
        let snapshot = snapshot(vec![
            node("a", 0, &["10.0.0.0/24"], &["192.0.2.1"]),
            node("b", 1, &["10.0.1.0/24"], &["192.0.2.2"]),
            node("c", 2, &["10.0.2.0/24"], &["192.0.2.3"]),
        ]);
        let selection = select(&snapshot, "b");
        assert_eq!(selection.own.as_ref().unwrap().name, "b");
        assert_eq!(names(&selection), ["a", "c"]);
        assert_eq!(selection.refused, []);
    }

    #[test]
    fn of_two_nodes_with_overlapping_subnets_the_newer_is_refused() {
        let snapshot = snapshot(vec![
            node("me", 9, &["10.0.9.0/24"], &["192.0.2.9"]),
            node("young", 5, &["10.0.0.0/25"], &["192.0.2.2"]),
            node("old", 1, &["10.0.0.0/24"], &["192.0.2.1"]),
        ]);
        let selection = select(&snapshot, "me");
        assert_eq!(names(&selection), ["old"]);
        let text = selection.refused[0].reason.to_string();
        assert!(text.contains("10.0.0.0/25") && text.contains("old"), "{text}");
    }

    #[test]
    fn this_node_keeps_its_subnet_even_if_it_is_newer() {
        let snapshot = snapshot(vec![
            node("me", 9, &["10.0.0.0/24"], &["192.0.2.9"]),
            node("old", 1, &["10.0.0.0/24"], &["192.0.2.1"]),
        ]);
        let selection = select(&snapshot, "me");
        assert_eq!(names(&selection), [""; 0]);
        assert_eq!(selection.refused[0].node, "old");
    }

    #[test]
    fn a_node_with_the_address_of_an_older_one_is_refused_until_that_is_deleted() {
        let old = node("old", 1, &["10.0.1.0/24"], &["192.0.2.1"]);
        let new = node("new", 2, &["10.0.2.0/24"], &["192.0.2.1"]);
        let both = select(&snapshot(vec![old, new.clone()]), "me");
        assert_eq!(names(&both), ["old"]);
        assert_eq!(names(&select(&snapshot(vec![new]), "me")), ["new"]);
    }

    #[test]
    fn nodes_without_a_subnet_or_an_address_are_refused() {
        let snapshot = snapshot(vec![
            node("me", 0, &[], &["192.0.2.9"]),
            node("a", 1, &[], &["192.0.2.1"]),
            node("b", 2, &["10.0.2.0/24"], &[]),
        ]);
        let selection = select(&snapshot, "me");
        assert_eq!(names(&selection), [""; 0]);
        let refused: Vec<_> =
            selection.refused.iter().map(|r| (r.node.as_str(), &r.reason)).collect();
        assert_eq!(
            refused,
            [("a", &Reason::NoPodCidr), ("b", &Reason::NoUnderlay), ("me", &Reason::NoPodCidr)]
        );
    }

    proptest! {
        #[test]
        fn peers_never_overlap_and_every_node_is_selected_or_refused(
            picks in prop::collection::vec((0_u8..8, 20_u8..=28, 0_u8..12, 0_u64..6), 0..24),
        ) {
            let nodes: Vec<Node> = picks
                .iter()
                .enumerate()
                .map(|(i, (net, prefix, ip, age))| {
                    let cidr: IpNetwork = format!("10.0.{net}.0/{prefix}").parse().unwrap();
                    let cidr = format!("{}/{prefix}", cidr.network());
                    let mut node = node(&format!("n{i}"), *age, &[&cidr], &[&format!("192.0.2.{ip}")]);
                    node.uid = NodeUid(format!("{i:03}"));
                    node
                })
                .collect();
            let count = nodes.len();
            let selection = select(&snapshot(nodes), "nobody");
            prop_assert_eq!(selection.peers.len() + selection.refused.len(), count);
            for (i, a) in selection.peers.iter().enumerate() {
                for b in &selection.peers[..i] {
                    let (a_cidr, b_cidr) = (a.pod_cidrs[0], b.pod_cidrs[0]);
                    prop_assert!(!a_cidr.contains(b_cidr.network()) && !b_cidr.contains(a_cidr.network()));
                    prop_assert_ne!(a.underlay_ips[0], b.underlay_ips[0]);
                }
            }
        }
    }
}
